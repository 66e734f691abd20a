//! What cloud-init's keys set on the machine: time servers, certificates, swap,
//! keyboard, and its shutdown after the first boot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Time servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ntp {
    pub enabled: bool,
    pub servers: Vec<String>,
    pub pools: Vec<String>,
    pub peers: Vec<String>,
    pub allow: Vec<String>,
}

impl Default for Ntp {
    fn default() -> Self {
        let none = Vec::new;
        Ntp { enabled: true, servers: none(), pools: none(), peers: none(), allow: none() }
    }
}

/// The servers of a machine that names none.
const DEFAULT_POOL: &str = "pool pool.ntp.org iburst maxsources 4\n";

impl Ntp {
    /// Lines of chrony.conf. Servers that are given replace the default.
    pub fn chrony_lines(&self) -> String {
        let lines = |word: &str, names: &[String], options: &str| -> String {
            names.iter().map(|name| format!("{word} {name}{options}\n")).collect()
        };
        let sources = [
            lines("server", &self.servers, " iburst"),
            lines("pool", &self.pools, " iburst"),
            lines("peer", &self.peers, ""),
        ]
        .concat();
        let sources = if sources.is_empty() { DEFAULT_POOL.to_owned() } else { sources };
        sources + &lines("allow", &self.allow, "")
    }
}

/// Authorities to trust.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaCerts {
    pub trusted: Vec<String>,
    pub remove_defaults: bool,
}

impl CaCerts {
    /// The bundle of this machine, made from that of the image; None if it is the same. What is no
    /// certificate is left out, and a bundle is never empty.
    pub fn bundle(&self, of_image: &str) -> Option<String> {
        let own: Vec<String> = self.trusted.iter().flat_map(|text| certificates(text)).collect();
        if own.is_empty() {
            return None;
        }
        let base = if self.remove_defaults { "" } else { of_image };
        Some([base, &own.concat()].concat())
    }
}

/// The certificates in a text in PEM form.
pub fn certificates(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let parts = text.split(BEGIN).skip(1).filter_map(|part| part.split_once(END));
    let bodies = parts.filter_map(|(body, _)| {
        let lines: Vec<&str> = body.split_whitespace().collect();
        is_certificate(&lines.concat()).then(|| lines.join("\n"))
    });
    bodies.map(|body| format!("{BEGIN}\n{body}\n{END}\n")).collect()
}

/// Is it a sequence that begins with one, as a certificate in DER is (RFC 5280)? OpenSSL refuses a
/// bundle with anything else in it.
fn is_certificate(base64: &str) -> bool {
    let Ok(der) = STANDARD.decode(base64) else { return false };
    sequence(&der).is_some_and(|(inner, rest)| rest.is_empty() && sequence(inner).is_some())
}

/// The content of the sequence at the start, and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let is_sane = (1..=4).contains(&digits.len());
        let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        (is_sane.then_some(length)?, rest)
    };
    rest.split_at_checked(length).filter(|_| tag == SEQUENCE)
}

/// A swap file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Swap {
    pub filename: String,
    pub size: String,
    pub maxsize: String,
}

impl Swap {
    /// `512M` in bytes; a number without a unit is bytes. None for `auto`.
    pub(crate) fn parse_size(text: &str) -> Option<u64> {
        let text = text.trim().to_ascii_uppercase();
        let text = text.strip_suffix('B').unwrap_or(&text);
        let unit = |shift: u32| (text.get(..text.len().saturating_sub(1)).unwrap_or(""), shift);
        let (digits, shift) = match text.chars().last()? {
            'K' => unit(10),
            'M' => unit(20),
            'G' => unit(30),
            'T' => unit(40),
            _ => (text, 0),
        };
        let number: u64 = digits.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    }

    /// How large the file is to be, in bytes, on a machine with this memory and this room on its
    /// disk; 0 for none.
    pub fn bytes(&self, memory: u64, room: u64) -> u64 {
        const GIB: u64 = 1 << 30;
        let fixed = Swap::parse_size(&self.size);
        let size = match fixed {
            Some(bytes) => bytes,
            None if self.size != "auto" => 0,
            // As cloud-init suggests it.
            None if memory <= GIB => memory,
            None if memory <= 4 * GIB => GIB,
            None => 2 * GIB,
        };
        let limit = Swap::parse_size(&self.maxsize).unwrap_or(u64::MAX);
        let limit = if fixed.is_some() { u64::MAX } else { limit.min(room / 4) };
        // Pages of 4096 bytes.
        size.min(limit) & !4095
    }
}

/// The keyboard of the terminals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keyboard {
    pub layout: String,
    pub variant: String,
}

/// Layout and variant as XKB names them, and the keymap that the image has for it. `uk` stands for
/// `gb`: people write it.
pub const KEYMAPS: [(&str, &str, &str); 43] = [
    ("us", "", "us"),
    ("us", "intl", "us-intl.iso15"),
    ("us", "dvorak", "dvorak"),
    ("at", "", "de-latin1"),
    ("be", "", "be2-latin1"),
    ("bg", "", "bg"),
    ("br", "", "br-abnt2"),
    ("by", "", "by"),
    ("ca", "", "ca-multi"),
    ("ch", "", "sg-latin1"),
    ("ch", "fr", "fr_CH-latin1"),
    ("cz", "", "cz-lat2"),
    ("de", "", "de-latin1"),
    ("de", "nodeadkeys", "de-latin1-nodeadkeys"),
    ("dk", "", "dk-latin1"),
    ("ee", "", "et"),
    ("es", "", "es"),
    ("fi", "", "fi-latin1"),
    ("fr", "", "fr-latin9"),
    ("gb", "", "uk"),
    ("gr", "", "gr-utf8"),
    ("hr", "", "croat"),
    ("hu", "", "hu"),
    ("is", "", "is-latin1"),
    ("it", "", "it"),
    ("jp", "", "jp106"),
    ("latam", "", "la-latin1"),
    ("lt", "", "lt"),
    ("lv", "", "lv-latin7"),
    ("mk", "", "mk"),
    ("nl", "", "nl"),
    ("no", "", "no-latin1"),
    ("pl", "", "pl"),
    ("pt", "", "pt-latin1"),
    ("ro", "", "ro"),
    ("rs", "", "sr"),
    ("ru", "", "ru"),
    ("se", "", "se-latin1"),
    ("si", "", "slovene"),
    ("sk", "", "sk-qwertz"),
    ("tr", "", "trqu"),
    ("ua", "", "ua-utf"),
    ("uk", "", "uk"),
];

impl Keyboard {
    /// The name of the keymap of a layout. A variant that there is no map for is left out.
    pub fn map(layout: &str, variant: &str) -> Option<&'static str> {
        let find = |variant: &str| {
            KEYMAPS.iter().find(|(other, of, _)| *other == layout && *of == variant)
        };
        find(variant).or_else(|| find("")).map(|(_, _, map)| *map)
    }
}

/// A shutdown when the owner's commands have ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Power {
    /// Empty: none.
    pub mode: String,
    pub delay: String,
    pub message: String,
    /// Seconds to wait for the rest of the boot; None: 30.
    pub timeout: Option<u64>,
    pub condition: Option<Condition>,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Given to `sh -c`.
    Shell(String),
    /// Executed as it is.
    Words(Vec<String>),
}

/// What has to be true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Condition {
    Bool(bool),
    Command(Command),
}

impl Power {
    /// How long the rest of the boot is waited for.
    pub fn boot_timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(30))
    }

    /// Minutes: `now` and nothing are none.
    pub fn parse_delay(text: &str) -> Option<u64> {
        match text.trim() {
            "" | "now" => Some(0),
            text => {
                let minutes: u64 = text.strip_prefix('+').unwrap_or(text).parse().ok()?;
                (minutes <= 10_080).then_some(minutes)
            }
        }
    }
}

/// What the provider adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VendorData {
    pub enabled: bool,
}

impl Default for VendorData {
    fn default() -> Self {
        VendorData { enabled: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_swap() {
        const MIB: u64 = 1 << 20;
        let swap = |size: &str, maxsize: &str| Swap {
            size: size.to_owned(),
            maxsize: maxsize.to_owned(),
            ..Swap::default()
        };
        for (swap, memory, room, expected) in [
            (swap("512M", ""), 0, 0, 512 * MIB),
            (swap("1073741824", ""), 0, 0, 1024 * MIB),
            (swap("64MB", ""), 0, 0, 64 * MIB),
            (swap("", ""), MIB, MIB, 0),
            (swap("auto", ""), 512 * MIB, 8192 * MIB, 512 * MIB),
            (swap("auto", "256M"), 8192 * MIB, 8192 * MIB, 256 * MIB),
            (swap("auto", ""), 8192 * MIB, 400 * MIB, 100 * MIB),
        ] {
            assert_eq!(swap.bytes(memory, room), expected, "{swap:?}");
        }
        assert_eq!(Swap::parse_size("99999999999T"), None);
    }

    #[test]
    fn servers_that_are_given_replace_the_default_pool() {
        assert_eq!(Ntp::default().chrony_lines(), DEFAULT_POOL);
        let ntp = Ntp {
            servers: vec!["a".to_owned()],
            allow: vec!["10.0.0.0/8".to_owned()],
            ..Ntp::default()
        };
        assert_eq!(ntp.chrony_lines(), "server a iburst\nallow 10.0.0.0/8\n");
    }

    #[test]
    fn what_is_no_certificate_is_left_out_of_a_bundle() {
        let pem = "x\n-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----\n";
        let certs = |trusted: &[&str], remove_defaults| CaCerts {
            trusted: trusted.iter().map(|text| (*text).to_owned()).collect(),
            remove_defaults,
        };
        let wrong = pem.replace("MAIw", "MAMw");
        assert_eq!(certs(&["nonsense", &wrong], true).bundle("image\n"), None);
        let bundle = certs(&[pem], false).bundle("image\n");
        assert_eq!(bundle.as_deref(), Some(&*format!("image\n{}", &pem[2..])));
        assert_eq!(certs(&[pem], true).bundle("image\n").as_deref(), Some(&pem[2..]));
    }

    #[test]
    fn layouts_have_keymaps() {
        for (layout, variant, map) in [
            ("de", "", Some("de-latin1")),
            ("de", "nodeadkeys", Some("de-latin1-nodeadkeys")),
            ("de", "neo", Some("de-latin1")),
            ("xx", "", None),
            ("../x", "", None),
        ] {
            assert_eq!(Keyboard::map(layout, variant), map, "{layout} {variant}");
        }
    }

    #[test]
    fn delays_are_minutes() {
        for (text, minutes) in [("now", Some(0)), ("+5", Some(5)), ("5", Some(5)), ("soon", None)] {
            assert_eq!(Power::parse_delay(text), minutes, "{text}");
        }
        let boot_timeout = |timeout| Power { timeout, ..Power::default() }.boot_timeout().as_secs();
        assert_eq!((boot_timeout(None), boot_timeout(Some(0)), boot_timeout(Some(5))), (30, 0, 5));
    }
}
