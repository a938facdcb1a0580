//! Who runs this program, for the history. `$USER` says so in a terminal; jobs and containers often have none.

/// The login name of the user, or the number when no name is known for it.
pub(crate) fn name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&accounts, uid).map_or_else(|| format!("uid-{uid}"), str::to_owned)
}

/// The name of a number in the text of a passwd file.
fn name_in(accounts: &str, uid: u32) -> Option<&str> {
    let mut entries = accounts.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_field_and_nothing_else() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\n# 7:x\nada:x:1000:7:Ada:/home/ada:/bin/sh\n:x:7:7::/:\n";
        assert_eq!(name_in(accounts, 0), Some("root"));
        assert_eq!(name_in(accounts, 1000), Some("ada"));
        assert_eq!(name_in(accounts, 7), None);
    }
}
