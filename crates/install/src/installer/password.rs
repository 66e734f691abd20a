//! The password of rancher, on a new machine or on this one. It is typed twice or read from a pipe,
//! never given on a command line. Only its hash is stored (SHA-512 crypt, crypt(5)).

use crate::luks;
use anyhow::{Context, Result, bail};
use sha_crypt::{PasswordHasher, ShaCrypt};
use std::io::{BufRead, IsTerminal};

/// Bytes that become the 16 letters of a salt, the most that crypt(5) accepts.
const SALT: usize = 12;

/// Asks on the terminal, without echo. None if the answer is empty.
pub fn prompt(question: &str) -> Result<Option<String>> {
    loop {
        let first = luks::prompt_here(question)?.bytes()?;
        if first.is_empty() {
            return Ok(None);
        }
        if first == luks::prompt_here("Repeat password: ")?.bytes()? {
            return hash(&first).map(Some);
        }
        println!("they do not match");
    }
}

/// The first line of standard input.
pub fn read_stdin() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        bail!(
            "standard input is a terminal, which would show the password; without this flag it is \
             typed without being shown (ros install: --password)"
        );
    }
    read(input.lock())
}

fn read(mut input: impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line).context("reading the password from standard input")?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() {
        bail!("the password is empty: the first line of the standard input is empty");
    }
    hash(password)
}

fn hash(password: &[u8]) -> Result<String> {
    if password.contains(&0) {
        bail!("a password cannot have a NUL in it");
    }
    let mut salt = [0_u8; SALT];
    rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())
        .context("making a salt")?;
    hash_with(password, &salt)
}

fn hash_with(password: &[u8], salt: &[u8]) -> Result<String> {
    let hash = ShaCrypt::SHA512.hash_password_with_salt(password, salt);
    Ok(hash.map_err(|error| anyhow::anyhow!("hashing the password: {error}"))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_becomes_the_hash_that_crypt_makes() {
        // As `openssl passwd -6 -salt 'rounds=5000$................'`: a dot encodes six zero bits.
        let found = hash_with(b"open sesame", &[0; SALT]).unwrap();
        assert_eq!(found, EXPECTED);
        assert_ne!(
            hash(b"open sesame").unwrap(),
            hash(b"open sesame").unwrap(),
            "the salt is random"
        );
    }

    #[test]
    fn the_first_line_is_the_password() {
        assert!(read("one\ntwo\n".as_bytes()).unwrap().starts_with("$6$"));
        assert!(read("one".as_bytes()).is_ok());
        for empty in ["", "\n", "\r\nnext\n"] {
            let why = read(empty.as_bytes()).unwrap_err().to_string();
            assert!(why.contains("is empty"), "{why}");
        }
        assert!(read("a\0b\n".as_bytes()).is_err());
    }

    const EXPECTED: &str = "$6$rounds=5000$................$GjeDMqw3V6ED7yPq7gbDt1EYL/AOPYLmKDPVhApcNyx/sdt58.TZI2Bia3JWGVqYzrvskZcDhy./fX3ld1pf.1";
}
