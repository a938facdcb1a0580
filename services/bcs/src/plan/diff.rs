//! Where two YAML texts differ: each line that differs, under the keys that lead to it.

/// A line, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Both(&'a str),
    Before(&'a str),
    After(&'a str),
}

/// Beyond this many pairs of lines the middle is given as a whole; a spec has some dozens of lines.
const MOST_PAIRS: usize = 4_000_000;

/// The lines that differ, and above them those that they belong to.
pub(crate) fn diff<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let all = aligned(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let mut keep = vec![false; all.len()];
    for (index, line) in all.iter().enumerate() {
        let (Line::Before(text) | Line::After(text)) = line else { continue };
        keep[index] = true;
        let mut depth = indent(text);
        for (above, line) in all[..index].iter().enumerate().rev() {
            if let Line::Both(text) = line
                && indent(text) < depth
            {
                keep[above] = true;
                depth = indent(text);
            }
        }
    }
    all.into_iter().zip(keep).filter_map(|(line, keep)| keep.then_some(line)).collect()
}

/// How deep a line lies. An item of a list lies deeper than its key even where both begin in the same column.
fn indent(line: &str) -> usize {
    let rest = line.trim_start();
    2 * (line.len() - rest.len()) + usize::from(rest.starts_with('-'))
}

/// Both texts in one, with as many common lines as there can be.
fn aligned<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let pairs = || before.iter().zip(after);
    let head = pairs().take_while(|(b, a)| b == a).count();
    let (before_rest, after_rest) = (&before[head..], &after[head..]);
    let tail = before_rest.iter().rev().zip(after_rest.iter().rev()).take_while(|(b, a)| b == a).count();
    let (old, new) = (&before_rest[..before_rest.len() - tail], &after_rest[..after_rest.len() - tail]);
    let both = |lines: &[&'a str]| lines.iter().map(|line| Line::Both(line)).collect::<Vec<_>>();
    let mut lines = both(&before[..head]);
    lines.extend(middle(old, new));
    lines.extend(both(&before_rest[old.len()..]));
    lines
}

fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        let gone = old.iter().map(|line| Line::Before(line));
        return gone.chain(new.iter().map(|line| Line::After(line))).collect();
    }
    // common[i][j]: how many lines old[i..] and new[j..] can have in common.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len() + new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Both(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Before(old[i]));
            i += 1;
        } else {
            lines.push(Line::After(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> String {
        let line = |line: Line<'_>| match line {
            Line::Both(text) => format!(" {text}|"),
            Line::Before(text) => format!("-{text}|"),
            Line::After(text) => format!("+{text}|"),
        };
        diff(before, after).into_iter().map(line).collect()
    }

    #[test]
    fn each_difference_stands_under_the_keys_that_lead_to_it() {
        let base = "labels:\n  tier: web\nspec:\n  replicas: 5\n  image:\n    repository: r\n    tag: v1\n";
        for (before, after, expected) in [
            (base, base, ""),
            ("", "a: 1\nb: 2", "+a: 1|+b: 2|"),
            ("a: 1\nb: 2", "", "-a: 1|-b: 2|"),
            (base, &base.replace("replicas: 5", "replicas: 8"), " spec:|-  replicas: 5|+  replicas: 8|"),
            (base, &base.replace("v1", "v2"), " spec:|   image:|-    tag: v1|+    tag: v2|"),
            (base, &base.replace("  tier: web\n", "  tier: web\n  zone: a\n"), " labels:|+  zone: a|"),
            ("l:\n- a: 1\n  b: 2\n- c: 3", "l:\n- a: 1\n  b: 9\n- c: 3", " l:| - a: 1|-  b: 2|+  b: 9|"),
            ("l:\n- a\n- b", "l:\n- b\n- c", " l:|-- a|+- c|"),
        ] {
            assert_eq!(shown(before, after), expected, "{before:?} and {after:?}");
        }
    }

    #[test]
    fn whatever_differs_both_texts_can_be_read_from_the_lines() {
        let before: Vec<String> = (0..400_u64).map(|n| (n * n % 7).to_string()).collect();
        let after: Vec<String> = (0..300_u64).map(|n| (n * n * n % 11).to_string()).collect();
        let texts =
            |lines: &[String]| lines.iter().map(|line| line.clone().leak() as &str).collect::<Vec<_>>();
        let (before, after) = (texts(&before), texts(&after));
        let lines = aligned(&before, &after);
        let of = |wanted: fn(&Line<'static>) -> Option<&'static str>| {
            lines.iter().filter_map(wanted).collect::<Vec<_>>()
        };
        assert_eq!(
            of(|line| match line {
                Line::Both(t) | Line::Before(t) => Some(t),
                Line::After(_) => None,
            }),
            before
        );
        assert_eq!(
            of(|line| match line {
                Line::Both(t) | Line::After(t) => Some(t),
                Line::Before(_) => None,
            }),
            after
        );
    }
}
