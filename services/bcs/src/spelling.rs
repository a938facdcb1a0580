//! `app/shop-web` for `app shop-web`, as other command lines have it and as our own answers write it.

use std::ffi::OsString;

/// Commands whose next words are a kind and a name.
const VERBS: [&str; 8] = ["get", "describe", "scale", "restart", "delete", "label", "history", "diff"];

/// Takes `kind/name` apart where it follows such a command.
pub(crate) fn apart(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let verb = arguments.iter().skip(1).position(|word| VERBS.iter().any(|verb| word == verb));
    let Some(place) = verb.map(|index| index + 2) else { return arguments };
    let object = arguments.get(place).and_then(|word| word.to_str()).and_then(|word| word.split_once('/'));
    if let Some((kind, name)) = object
        && !kind.is_empty()
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
    {
        let words = [kind, name].map(OsString::from);
        arguments.splice(place..=place, words);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_name_may_be_written_with_a_slash() {
        for (typed, meant) in [
            ("bcs get app/shop-web -o json", "bcs get app shop-web -o json"),
            ("bcs -o json describe cluster/sim-a", "bcs -o json describe cluster sim-a"),
            ("bcs scale app/shop-web --replicas 3", "bcs scale app shop-web --replicas 3"),
            ("bcs get apps -l part/of=shop", "bcs get apps -l part/of=shop"),
            ("bcs get ./app", "bcs get ./app"),
            ("bcs apply -f app/shop.yaml", "bcs apply -f app/shop.yaml"),
            ("bcs get", "bcs get"),
        ] {
            let words = apart(typed.split(' ').map(OsString::from));
            assert_eq!(words, meant.split(' ').map(OsString::from).collect::<Vec<_>>(), "{typed}");
        }
    }
}
