//! Text without secrets: those of this machine's configuration, private keys, and what looks like a
//! secret.

use super::line;
use super::names::HIDDEN;
use super::secrets::{Finder, Secrets};

/// Lines of the longest private key. A key that is cut off hides no more than these.
const KEY_LINES: usize = 100;

/// Knows the secrets of this machine.
#[derive(Debug)]
pub(super) struct Redactor {
    finder: Finder,
}

impl Redactor {
    pub(super) fn new(secrets: &Secrets) -> Redactor {
        Redactor { finder: Finder::new(secrets) }
    }

    /// The same text without them. Keys come first: their first lines may be in other secrets too.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut left = 0;
        let lines = text.lines().map(|line| format!("{}\n", hide_key(line, &mut left)));
        let text = self.finder.hide(&lines.collect::<String>());
        text.lines().map(|line| format!("{}\n", line::redact(line))).collect()
    }
}

/// `left`: of the private key that the line is in, lines that may still come.
fn hide_key(line: &str, left: &mut usize) -> String {
    let (begins, ends) = (marks(line, "BEGIN "), marks(line, "END "));
    let was_in_key = *left > 0;
    *left = match (begins.last(), ends.last()) {
        (Some(begin), Some(end)) if begin < end => 0,
        (Some(_), _) => KEY_LINES,
        (None, Some(_)) => 0,
        (None, None) => left.saturating_sub(1),
    };
    match begins.first() {
        _ if was_in_key => HIDDEN.to_owned(),
        Some(begin) => format!("{}{HIDDEN}", line[..*begin].trim_end_matches(['-', ' '])),
        None => line.to_owned(),
    }
}

/// Where `-----BEGIN RSA PRIVATE KEY-----` or `-----BEGIN PGP PRIVATE KEY BLOCK-----` is.
fn marks(line: &str, word: &str) -> Vec<usize> {
    let is_key = |at: &usize| {
        let label = line[at + word.len()..].split("--").next().unwrap_or_default();
        line[..*at].trim_end().ends_with("--") && label.contains("PRIVATE KEY")
    };
    line.match_indices(word).map(|(at, _)| at).filter(is_key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_config::{Layer, Source};

    fn redactor(document: &str) -> Redactor {
        let mut secrets = Secrets::default();
        secrets.add_document(document.as_bytes());
        Redactor::new(&secrets)
    }

    fn has_none(text: &str, secrets: &[&str]) {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
    }

    const DOCUMENT: &str = r#"
hostname: web-1
write_files:
- {path: /etc/app, content: "first line\nMY_KEY = abcdefgh\n"}
- {path: /etc/b, encoding: b64, content: aW5uZXItd29yZAo=}
users: [{name: ann, passwd: "$6$salt$hash"}]
mounts: [[//a/b, /mnt, cifs, "username=a,password=mount-word"]]
rancher:
  password: hunter22
  root_password: not-accepted
  environment: {DB: db-pass-word, PIN: 4711, SHORT: qu1x, QUOTED: "a\"b\\c<d"}
  registry_auths: {r.example: {auth: am9lOnJlZ2lzdHJ5cGFzcw==}}
  ssh: {keys: {rsa: "line-one-of-key\nline-two-of-key\n"}}
  network: {http_proxy: "http://me:pr/xy-word@proxy:3128", https_proxy: "us:zk7w@proxy:1"}
  repositories: {a: {url: "https://token-of-url@host/a"}}
  services:
    web:
      image: nginx
      command: [app, "--key=cmd-word", -pattached, "x y0z9"]
      environment: [TOKEN_X=service-token]
      labels: {io.rancher.os.scope: system}
"#;

    #[test]
    fn secrets_of_the_configuration_are_in_no_text() {
        let redactor = redactor(DOCUMENT);
        let text = redactor.redact(
            "web-1 hunter22 registrypass am9lOnJlZ2lzdHJ5cGFzcw== line-two-of-key inner-word\n\
             MY_KEY = abcdefgh db-pass-word service-token /etc/app ann cmd-word x y0z9 y0z9\n\
             pin 4711, qu1x 47110 qu1xa mount-word not-accepted me:pr/xy-word pr/xy-word zk7w\n\
             a\"b\\c<d a\\\"b\\\\c<d a\\\"b\\\\c\\u003cd token-of-url aW5uZXItd29yZAo= attached\n",
        );
        has_none(
            &text,
            &[
                "hunter22",
                "registrypass",
                "am9l",
                "line-two",
                "abcdefgh",
                "db-pass",
                "y0z9",
                "service-token",
                "inner-word",
                "cmd-word",
                "4711,",
                "qu1x ",
                "mount-word",
                "not-accepted",
                "xy-word",
                "zk7w",
                "c<d",
                "u003cd",
                "token-of-url",
                "aW5u",
                "attached",
            ],
        );
        for shown in ["web-1", "/etc/app ann", "47110", "qu1xa"] {
            assert!(text.contains(shown), "{shown} is not in:\n{text}");
        }
    }

    #[test]
    fn what_another_source_overrode_is_a_secret_too() {
        let mut secrets = Secrets::default();
        secrets.add_command_line(
            "quiet rancher.password=first-word rancher.password=second-word \
             rancher.environment.A=third-word \"rancher.environment.A=fourth word\"",
        );
        let wrong = "rancher: {password: [fifth-word]}\nhostname: web-1\n";
        secrets.add_layer(&Layer::parse(Source::Metadata, wrong));
        secrets.add_document(b"no: [mapping\npassword: sixth-word\nseventh-word\n");
        let text = "first-word second-word third-word fourth word fifth-word sixth-word \
                    seventh-word";
        let text = Redactor::new(&secrets).redact(&format!("{text} quiet web-1"));
        has_none(&text, &["-word", "fourth"]);
        assert!(text.contains("quiet web-1"), "{text}");
    }

    #[test]
    fn overlapping_secrets_are_hidden_together() {
        let redactor = redactor("rancher: {environment: [abcdefgh, efghijkl, ijklmnop]}");
        assert_eq!(
            redactor.redact("xabcdefghijklx abcdefghabcdefgh"),
            "x(hidden)x (hidden)(hidden)\n"
        );
    }

    #[test]
    fn private_keys_are_hidden_in_one_line_and_in_many() {
        let redactor = redactor("");
        let pem = "a: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  \
                   -----END RSA PRIVATE KEY-----\nb: 1\n";
        assert_eq!(redactor.redact(pem), "a: |\n(hidden)\n(hidden)\n(hidden)\nb: 1\n");
        let line =
            "k: \"-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----\\n\"\nb: 1\n";
        assert_eq!(redactor.redact(line), "k: \"(hidden)\nb: 1\n");
        let public = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n";
        assert_eq!(redactor.redact(public), public);
        let pgp =
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOY\n-----END PGP PRIVATE KEY BLOCK-----\nb\n";
        assert_eq!(redactor.redact(pgp), "(hidden)\n(hidden)\n(hidden)\nb\n");
        let two = "-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----\nMIIE\n";
        assert_eq!(redactor.redact(two).lines().last(), Some("(hidden)"));
    }

    #[test]
    fn a_key_that_is_cut_off_does_not_hide_the_rest() {
        let text = format!("-----BEGIN PRIVATE KEY-----\n{}", "line\n".repeat(150));
        let text = redactor("").redact(&text);
        assert_eq!(text.matches(HIDDEN).count(), KEY_LINES + 1);
        assert!(text.ends_with("line\n"));
    }
}
