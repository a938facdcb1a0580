//! The few programs that the image of a simulated container has: what a client may run where no process is. Pure.

use std::time::Duration;

use super::process::env::Environment;

/// What a program is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// Says this on its output and its error output, and ends with this code.
    Says {
        out: String,
        err: String,
        code: i32,
    },
    /// Hands on what it reads, after these words.
    Copies {
        first: String,
    },
    Sleeps(Duration),
}

/// What a program can find out about where it runs.
pub(crate) struct Surroundings<'a> {
    pub environment: &'a Environment,
    pub host: &'a str,
    pub address: &'a str,
    pub directory: &'a str,
}

/// The program of this command, if there is one of that name.
pub(crate) fn find(command: &[String], around: &Surroundings<'_>) -> Option<Program> {
    let (name, arguments) = command.split_first()?;
    let name = ["/bin/", "/usr/bin/"].iter().find_map(|folder| name.strip_prefix(folder)).unwrap_or(name);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(match name {
        "true" => said("", 0),
        "false" => said("", 1),
        "echo" => echo(&arguments),
        "env" | "printenv" if arguments.is_empty() => {
            let lines = around.environment.variables.iter().map(|(name, value)| format!("{name}={value}\n"));
            said(&lines.collect::<String>(), 0)
        }
        "printenv" => {
            let found: Vec<&str> = arguments.iter().filter_map(|name| around.environment.get(name)).collect();
            let lines: String = found.iter().map(|value| format!("{value}\n")).collect();
            said(&lines, i32::from(found.len() < arguments.len()))
        }
        "hostname" => said(&format!("{}\n", around.host), 0),
        "pwd" => said(&format!("{}\n", around.directory), 0),
        "cat" => cat(&arguments, around),
        "sleep" => sleep(&arguments),
        _ => return None,
    })
}

fn said(out: &str, code: i32) -> Program {
    Program::Says { out: out.to_owned(), err: String::new(), code }
}

fn echo(arguments: &[&str]) -> Program {
    match arguments {
        ["-n", words @ ..] => said(&words.join(" "), 0),
        words => said(&format!("{}\n", words.join(" ")), 0),
    }
}

fn cat(names: &[&str], around: &Surroundings<'_>) -> Program {
    let (mut out, mut err) = (String::new(), String::new());
    for name in names {
        match *name {
            "-" => {}
            "/etc/hostname" => out += &format!("{}\n", around.host),
            "/etc/hosts" => out += &format!("127.0.0.1\tlocalhost\n{}\t{}\n", around.address, around.host),
            name => err += &format!("cat: {name}: No such file or directory\n"),
        }
    }
    if names.is_empty() || names.contains(&"-") {
        return Program::Copies { first: out };
    }
    let code = i32::from(!err.is_empty());
    Program::Says { out, err, code }
}

fn sleep(arguments: &[&str]) -> Program {
    let durations: Option<Vec<Duration>> = arguments.iter().map(|text| super::plan::duration(text)).collect();
    match durations {
        Some(all) if !all.is_empty() => Program::Sleeps(all.iter().sum()),
        _ => {
            let err = format!("sleep: invalid time interval '{}'\n", arguments.join(" "));
            Program::Says { out: String::new(), err, code: 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_a_simulated_image_do_what_their_names_promise() {
        let mut environment = Environment::default();
        environment.set("COLOUR", "blue".to_owned());
        let around = Surroundings {
            environment: &environment,
            host: "web-1",
            address: "127.9.0.1",
            directory: "/srv",
        };
        for (command, expected) in [
            ("true", Some(said("", 0))),
            ("/bin/false", Some(said("", 1))),
            ("echo a b", Some(said("a b\n", 0))),
            ("echo -n a", Some(said("a", 0))),
            ("env", Some(said("COLOUR=blue\n", 0))),
            ("printenv COLOUR", Some(said("blue\n", 0))),
            ("printenv COLOUR SIZE", Some(said("blue\n", 1))),
            ("/usr/bin/hostname", Some(said("web-1\n", 0))),
            ("pwd", Some(said("/srv\n", 0))),
            ("cat /etc/hosts", Some(said("127.0.0.1\tlocalhost\n127.9.0.1\tweb-1\n", 0))),
            ("cat", Some(Program::Copies { first: String::new() })),
            ("cat /etc/hostname -", Some(Program::Copies { first: "web-1\n".to_owned() })),
            ("sleep 2", Some(Program::Sleeps(Duration::from_secs(2)))),
            ("sh -c true", None),
            ("", None),
        ] {
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(find(&words, &around), expected, "{command}");
        }
        let missing = find(&["cat".to_owned(), "/x".to_owned()], &around);
        let err = "cat: /x: No such file or directory\n".to_owned();
        assert_eq!(missing, Some(Program::Says { out: String::new(), err, code: 1 }));
    }
}
