//! URLs of registries.

/// What is wrong with the URL of a registry. It is not repeated where it may hold a password.
pub(super) fn problem(url: &str, tls: bool) -> Option<String> {
    let plain = |rest: &str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']);
    match url.split_once("://") {
        Some(_) if url.contains('@') => {
            Some("holds a user: give it as auth, with the password in a file".to_owned())
        }
        Some(("http", _)) if tls => Some(format!("{url:?}: expected https://, since there is tls")),
        Some(("http" | "https", rest)) if plain(rest) => None,
        Some(("http" | "https", _)) => {
            Some(format!("{url:?}: expected a host, and at most a path behind it"))
        }
        _ => Some(format!("{url:?}: expected http:// or https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn urls_have_a_scheme_and_a_host_and_no_password() {
        for (url, tls, words) in [
            ("http://dns:8081", false, None),
            ("https://dns/below", true, None),
            ("http://dns", true, Some("expected https://")),
            ("https://", false, Some("expected a host")),
            ("https:///x", false, Some("expected a host")),
            ("https://dns?x=1", false, Some("expected a host")),
            ("dns:8081", false, Some("expected http:// or https://")),
            ("https://bcs:hunter2@dns", false, Some("holds a user")),
        ] {
            let found = problem(url, tls);
            assert_eq!(found.is_none(), words.is_none(), "{url}: {found:?}");
            assert!(found.unwrap_or_default().contains(words.unwrap_or_default()), "{url}");
        }
    }
}
