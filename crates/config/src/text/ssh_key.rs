//! A line of `authorized_keys` (sshd(8)) → a public key, or the reason why sshd would not take it.
//! As strict as `ssh-keygen -l`: the blob must be exactly one key of the type that the line names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Fewer bits of RSA are refused by sshd (`RequiredRSASize` in sshd_config(5)).
const SMALLEST_RSA: usize = 1024;
/// Options of a line that sshd knows, in small letters. One that sshd does not know makes it refuse
/// the line.
const OPTIONS: [&str; 22] = [
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "tunnel",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// A public key that sshd takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// The complete line, without blanks around it.
    pub line: String,
    /// What stands before the type, such as `command="date"`.
    pub options: Vec<String>,
    /// What the base64 stands for (RFC 4253, section 6.6): two keys are the same if this is.
    pub blob: Vec<u8>,
    /// Empty if there is none.
    pub comment: String,
    /// As `ssh-keygen -l` names it: `ED25519`.
    pub kind: &'static str,
    pub bits: usize,
}

/// How the blob of a type goes on after its name.
#[derive(Debug, Clone, Copy)]
enum Form {
    Rsa,
    Ed25519,
    /// The name of the curve, and its bits.
    Ecdsa(&'static str, usize),
    /// The same on a security key, with an application.
    Ed25519Sk,
    EcdsaSk,
}

/// Type, form, and the name that `ssh-keygen -l` shows.
const TYPES: [(&str, Form, &str); 7] = [
    ("ssh-ed25519", Form::Ed25519, "ED25519"),
    ("ssh-rsa", Form::Rsa, "RSA"),
    ("ecdsa-sha2-nistp256", Form::Ecdsa("nistp256", 256), "ECDSA"),
    ("ecdsa-sha2-nistp384", Form::Ecdsa("nistp384", 384), "ECDSA"),
    ("ecdsa-sha2-nistp521", Form::Ecdsa("nistp521", 521), "ECDSA"),
    ("sk-ssh-ed25519@openssh.com", Form::Ed25519Sk, "ED25519-SK"),
    ("sk-ecdsa-sha2-nistp256@openssh.com", Form::EcdsaSk, "ECDSA-SK"),
];

impl SshKey {
    /// Parses a line: options if there are any, type, base64, comment.
    pub fn parse(line: &str) -> Result<SshKey, String> {
        let line = line.trim();
        if line.contains(['\n', '\r']) {
            return Err("it has several lines; a key is one line".to_owned());
        }
        let rest = if type_of(line).is_some() { line } else { skip_options(line)? };
        let Some((name, form, kind)) = type_of(rest) else { return Err(no_type(rest)) };
        let mut words = rest[name.len()..].trim_start().splitn(2, [' ', '\t']);
        let text = words.next().unwrap_or_default();
        let comment = words.next().unwrap_or_default().trim().to_owned();
        let blob = STANDARD.decode(text).map_err(|_| broken(text))?;
        let bits = Blob(&blob).check(name, form).ok_or_else(|| broken(text))?;
        if kind == "RSA" && bits < SMALLEST_RSA {
            return Err(format!(
                "an RSA key of {bits} bits is refused by sshd; create one of type ed25519"
            ));
        }
        let options = line.strip_suffix(rest).unwrap_or_default().trim();
        let options = split_options(options).into_iter().filter(|option| !option.is_empty());
        let options = options.map(str::to_owned).collect();
        Ok(SshKey { line: line.to_owned(), options, blob, comment, kind, bits })
    }

    /// Does it have this option, with a value or without one?
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option_name(option) == name)
    }
}

/// Keys and problems of a file such as `authorized_keys`; empty lines and comments are neither.
pub fn parse_list(text: &str) -> Vec<Result<SshKey, String>> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            SshKey::parse(line).map_err(|why| format!("line {}: {why}", number + 1))
        })
        .collect()
}

fn type_of(text: &str) -> Option<(&'static str, Form, &'static str)> {
    let word = text.split([' ', '\t']).next()?;
    TYPES.into_iter().find(|(name, ..)| *name == word)
}

fn no_type(text: &str) -> String {
    match text.split([' ', '\t']).next().unwrap_or_default() {
        "" => "the key is missing".to_owned(),
        "-----BEGIN" => {
            "this is a private key; expected the public key (the file *.pub)".to_owned()
        }
        "ssh-dss" => {
            "sshd does not accept keys of type ssh-dss; create one of type ed25519".to_owned()
        }
        word => {
            let start: String = word.chars().take(30).collect();
            format!(
                "{start:?} is not a key type; expected a line of *.pub such as `ssh-ed25519 \
                 AAAA… me`"
            )
        }
    }
}

fn broken(text: &str) -> String {
    match text {
        "" => "the key after its type is missing".to_owned(),
        _ => "the key after its type is damaged or truncated; copy the complete line".to_owned(),
    }
}

/// What follows the options of a line. They end at the first blank outside of quotes.
fn skip_options(line: &str) -> Result<&str, String> {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|character| {
        let ends = !quoted && (character == ' ' || character == '\t');
        match character {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        ends
    });
    let (options, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    if type_of(rest).is_none() {
        // It never was a line with options: the first word is what is wrong.
        return Ok(if OPTIONS.contains(&option_name(options).as_str()) { rest } else { line });
    }
    match split_options(options)
        .into_iter()
        .find(|option| !OPTIONS.contains(&option_name(option).as_str()))
    {
        Some(unknown) => Err(format!("{unknown:?} is not an option that sshd knows")),
        None => Ok(rest),
    }
}

fn option_name(option: &str) -> String {
    option.split(['=', ',']).next().unwrap_or_default().to_ascii_lowercase()
}

/// Options are separated by commas outside of quotes.
fn split_options(options: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    options
        .split(|character| {
            if character == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = character == '\\' && !escaped;
            character == ',' && !quoted
        })
        .collect()
}

/// What is left of a blob.
struct Blob<'a>(&'a [u8]);

impl<'a> Blob<'a> {
    /// Bits of the key, if the blob is one key of this type and nothing else.
    fn check(mut self, name: &str, form: Form) -> Option<usize> {
        (self.string()? == name.as_bytes()).then_some(())?;
        let bits = match form {
            Form::Rsa => {
                self.string().filter(|exponent| !exponent.is_empty())?;
                let modulus = self.string()?;
                let first = modulus.iter().position(|byte| *byte != 0)?;
                (modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize
            }
            Form::Ed25519 | Form::Ed25519Sk => {
                self.string().filter(|key| key.len() == 32).map(|_| 256)?
            }
            Form::Ecdsa(curve, bits) => self.point(curve, bits)?,
            Form::EcdsaSk => self.point("nistp256", 256)?,
        };
        if matches!(form, Form::Ed25519Sk | Form::EcdsaSk) {
            self.string().filter(|application| !application.is_empty())?;
        }
        self.0.is_empty().then_some(bits)
    }

    /// A point of a curve, not compressed (RFC 5656, section 3.1).
    fn point(&mut self, curve: &str, bits: usize) -> Option<usize> {
        (self.string()? == curve.as_bytes()).then_some(())?;
        let point = self.string()?;
        (point.len() == 1 + 2 * bits.div_ceil(8) && point.first() == Some(&4)).then_some(bits)
    }

    /// The next string: four bytes of length, then so many bytes (RFC 4251, section 5).
    fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) =
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsyjdVi98mjmXXXl0Gwtdy5VQlPfWMr1rl626GfrojO";
    const ECDSA: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBDuhQ08RT5ewvzP5gBC4+j0FsEqS2m0Rf06HMhETFf/OVyx4yeAjXfY5KFFTzH093F5rMpphAHV+lP0WemZfjOMcejPGhEErhbi8jLbLK09w43kwLGownB9ytQvlI0WTQw==";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC4Ez4ZlNA7GPmBdYKqGfObIabpVEiJji+yzYkvgMfJoBOYc0oOK5TyEtKb+x6JSrX9TVNRmrTGLCeVq1WzrIYlGQQ8HGZ1vwrs0xAd7Q/fXkmChptvR+RkNqFFaBVIqEwu7UFAnhLXCjQMnoko4sKEx8SlQn9uozmEVFC3GsaYfw==";

    fn strings(parts: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for part in parts {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(part);
        }
        STANDARD.encode(blob)
    }

    #[test]
    fn a_key_is_what_ssh_keygen_shows() {
        for (key, kind, bits) in
            [(ED25519, "ED25519", 256), (ECDSA, "ECDSA", 384), (RSA, "RSA", 1024)]
        {
            for (line, comment) in [
                (key.to_owned(), ""),
                (format!(" {key}  me@desk top \n"), "me@desk top"),
                (format!("no-pty,command=\"a \\\"b c\\\",d\" {key} me"), "me"),
                (format!("restrict,From=\"10.0.0.0/8,::1\"\t{key}"), ""),
            ] {
                let found = SshKey::parse(&line).unwrap_or_else(|why| panic!("{line}: {why}"));
                assert_eq!(
                    (found.kind, found.bits, found.comment.as_str()),
                    (kind, bits, comment),
                    "{line}"
                );
                assert_eq!(found.line, line.trim());
                assert_eq!(found.has_option("command"), line.contains("command="), "{line}");
                assert_eq!(found.has_option("from"), line.contains("From="), "{line}");
            }
        }
        let key = strings(&[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:"]);
        let key = SshKey::parse(&format!("sk-ssh-ed25519@openssh.com {key}")).unwrap();
        assert_eq!((key.kind, key.bits), ("ED25519-SK", 256));
    }

    #[test]
    fn what_sshd_would_not_take_is_refused_with_its_reason() {
        let cut = &ED25519[..ED25519.len() - 4];
        let other = ED25519.replace("ssh-ed25519 ", "ssh-rsa ");
        let more = format!("ssh-ed25519 {}", strings(&[b"ssh-ed25519", &[1; 32], b"more"]));
        let short = format!("ssh-ed25519 {}", strings(&[b"ssh-ed25519", &[1; 31]]));
        let small = format!("ssh-rsa {}", strings(&[b"ssh-rsa", &[3], &[0x7f; 64]]));
        let huge = format!("ssh-rsa {}", STANDARD.encode([0xff; 8]));
        let option = format!("no-such-thing {ED25519}");
        for (line, reason) in [
            ("", "the key is missing"),
            ("restrict", "the key is missing"),
            ("ssh-ed25519", "missing"),
            ("ssh-ed25519 AAAA... me@desk", "damaged"),
            (cut, "damaged"),
            (&other, "damaged"),
            (&more, "damaged"),
            (&short, "damaged"),
            (&huge, "damaged"),
            (&small, "511 bits"),
            (&option, "\"no-such-thing\" is not an option"),
            ("hello world", "\"hello\" is not a key type"),
            ("ssh-dss AAAA", "type ssh-dss; create"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            (&format!("{ED25519}\n{ED25519}"), "several lines"),
        ] {
            let why = SshKey::parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(why.contains(reason), "{line}: {why}");
        }
    }

    #[test]
    fn a_list_names_the_lines_that_are_no_keys() {
        let found = parse_list(&format!("# mine\n{ED25519} a\n\nnonsense\n{RSA}\n"));
        assert_eq!(found.iter().filter(|key| key.is_ok()).count(), 2);
        assert!(found[1].as_ref().unwrap_err().starts_with("line 4: "), "{found:?}");
    }
}
