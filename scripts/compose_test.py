"""Tells the stories of scripts/compose-test, chapter after chapter, on one stack that begins from nothing."""

import argparse
import subprocess
import sys

from compose_more import beside, bus_killed, observed, replicas
from compose_stack import COUNTS, HEALTHY, SKIPPED, Broken, Stack, check, compose, say
from compose_story import again, begins, cut, killed, registries, rolls, runs
from compose_wrong import clock, complains, forgotten, older_and_newer

# Which chapters belong to which story, in their order.
WHOLE = [runs, rolls, beside, killed, registries, replicas, cut, complains, clock, forgotten, older_and_newer, again]
SHORT = [runs, rolls, beside, replicas, complains, clock, older_and_newer]
THREE = [runs, rolls, bus_killed, again]


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("work")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--ha", action="store_true")
    parser.add_argument("--observability", action="store_true")
    options, images = parser.parse_known_args()
    profiles = [name for name in ("ha", "observability") if getattr(options, name)]
    chapters = THREE if options.ha else SHORT if options.short else WHOLE
    if options.observability:
        chapters = [chapters[0], chapters[1], observed, *chapters[2:]]
    stack = Stack(profiles)
    try:
        begins(stack, images)
        for chapter in chapters:
            chapter(stack)
    except (Broken, OSError, ValueError, LookupError, subprocess.SubprocessError) as broken:
        if not isinstance(broken, Broken):
            check("the story can be told", False, repr(broken))
        say(f"\nthe story ends here: {broken}")
        for service in HEALTHY:
            said = compose("logs", "--no-color", "--tail", "8", service)
            say(f"--- {service}\n{said.stdout[-1500:]}")
    say(f"\n{COUNTS['passed']} passed, {COUNTS['failed']} failed")
    for what in SKIPPED:
        say(f"NOT TRIED: {what}")
    return 1 if COUNTS["failed"] else 0


sys.exit(main())
