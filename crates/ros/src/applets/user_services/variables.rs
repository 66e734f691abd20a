//! Variables of a container → how Docker's CLI gets them. The CLI runs as root, and a file with
//! variables may belong to any user. So values go through a file that is data to the CLI. Only a
//! value that fits no line of such a file goes through the CLI's own environment, and only under a
//! name that no program heeds.

use anyhow::{Result, bail};

/// Longest line that the client reads (Go's bufio.MaxScanTokenSize).
const LONGEST_LINE: usize = 64 << 10;
/// Longest `NAME=VALUE` that the kernel accepts, its NUL included (MAX_ARG_STRLEN, execve(2)).
const LONGEST: usize = 128 << 10;

/// How the variables get into a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// `--env=NAME`, and names without a value, which remove a variable.
    pub(super) flags: Vec<String>,
    /// The client's own environment.
    pub(super) own: Vec<(String, String)>,
    /// `NAME=VALUE` lines of a file.
    pub(super) lines: String,
}

impl Variables {
    pub(super) fn sort(environment: &[String]) -> Result<Variables> {
        let mut all = Variables::default();
        for item in environment {
            let Some((name, value)) = item.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                all.flags.push(format!("--env={item}"));
                continue;
            };
            if is_line(name, value) {
                all.lines.push_str(&format!("{item}\n"));
                continue;
            }
            if is_heeded(name) {
                bail!(
                    "environment: {name}: a variable of this name takes a value of one line and \
                     less than 64 KiB; mount a file with the value, or use another name"
                );
            }
            if item.len() >= LONGEST {
                bail!(
                    "environment: {name}: a value may have 128 KiB; mount a file with it instead"
                );
            }
            all.flags.push(format!("--env={name}"));
            all.own.push((name.to_owned(), value.to_owned()));
        }
        Ok(all)
    }
}

/// Does the client read it from a line as it is? It skips comments and a byte order mark, and takes
/// no blanks in a name.
/// <https://github.com/docker/cli/blob/master/pkg/kvfile/kvfile.go>
fn is_line(name: &str, value: &str) -> bool {
    let is_name = !name.starts_with(['#', '\u{feff}']) && !name.contains(char::is_whitespace);
    let length = name.len() + 1 + value.len();
    is_name && length < LONGEST_LINE && !value.contains(['\n', '\r'])
}

/// Variables that the client, the runtime of Go or the C library would interpret, in either case of
/// letters.
fn is_heeded(name: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        "LD_",
        "GCONV_",
        "GLIBC_",
        "MALLOC_",
        "LC_",
        "RES_",
        "RESOLV_",
        "DOCKER_",
        "BUILDKIT_",
        "COMPOSE_",
        "OTEL_",
        "SSL_CERT_",
        "XDG_",
    ];
    const NAMES: [&str; 22] = [
        "PATH",
        "HOME",
        "BASH_ENV",
        "LANG",
        "LANGUAGE",
        "LOCPATH",
        "NLSPATH",
        "HOSTALIASES",
        "LOCALDOMAIN",
        "TZ",
        "TZDIR",
        "TMPDIR",
        "NO_COLOR",
        "SSH_AUTH_SOCK",
        "SSH_ASKPASS",
        "GODEBUG",
        "GOMAXPROCS",
        "GOGC",
        "GOMEMLIMIT",
        "GOTRACEBACK",
        "GOCOVERDIR",
        "GOROOT",
    ];
    let name = name.to_ascii_uppercase();
    name.ends_with("_PROXY")
        || NAMES.contains(&name.as_str())
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_on_the_command_line() {
        let environment = [
            "PASSWORD=secret",
            "DOCKER_PASSWORD=secret",
            "PATH=/secret",
            "KEY=secret\nsecret",
            "EMPTY=",
            "GONE",
        ]
        .map(str::to_owned);
        let found = Variables::sort(&environment).unwrap();
        assert_eq!(found.flags, ["--env=KEY", "--env=GONE"]);
        assert_eq!(found.lines, "PASSWORD=secret\nDOCKER_PASSWORD=secret\nPATH=/secret\nEMPTY=\n");
        assert_eq!(found.own, [("KEY".to_owned(), "secret\nsecret".to_owned())]);
    }

    #[test]
    fn the_client_gets_nothing_that_it_heeds() {
        let names = [
            "LD_PRELOAD",
            "GCONV_PATH",
            "GLIBC_TUNABLES",
            "GODEBUG",
            "DOCKER_CONFIG",
            "https_proxy",
            "NO_PROXY",
            "HOME",
            "PATH",
        ];
        for name in names {
            let found = Variables::sort(&[format!("{name}=/home/ann/x.so")]).unwrap();
            assert!(found.own.is_empty() && found.flags.is_empty(), "{name}");
            assert_eq!(found.lines, format!("{name}=/home/ann/x.so\n"));
            for value in ["/home/ann/x.so\n".to_owned(), "x".repeat(100_000)] {
                let why = Variables::sort(&[format!("{name}={value}")]).unwrap_err().to_string();
                assert!(why.contains(name) && why.contains("one line") && why.len() < 200, "{why}");
            }
        }
    }

    #[test]
    fn a_value_goes_where_it_fits_or_is_named() {
        let long = |name: &str, length: usize| [format!("{name}={}", "x".repeat(length))];
        let most = Variables::sort(&long("A", LONGEST_LINE - 3)).unwrap();
        assert_eq!((most.own.len(), most.lines.len()), (0, LONGEST_LINE));
        assert_eq!(Variables::sort(&long("A", LONGEST_LINE - 2)).unwrap().own.len(), 1);
        for name in ["#A", "A B", "\u{feff}A"] {
            let found = Variables::sort(&long(name, 1)).unwrap();
            assert_eq!((found.own.len(), found.lines.as_str()), (1, ""), "{name}");
        }
        let why = Variables::sort(&long("A", 131_072)).unwrap_err().to_string();
        assert!(
            why.contains("environment: A: ") && why.contains("128 KiB") && why.len() < 200,
            "{why}"
        );
    }
}
