//! The machine boots with any content of a config drive. Its owner can log in, and it reports what
//! is wrong and where.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Options, drive};

#[test]
fn bad_yaml_is_reported_with_its_line() -> Result<()> {
    is_reported(
        "bad-yaml",
        b"#cloud-config\nhostname: [never\nclosed: true\n",
        &[":3:7: illegal placement of ':' indicator"],
    )
}

#[test]
fn wrong_types_are_reported_with_their_key_and_the_rest_takes_effect() -> Result<()> {
    let text = b"#cloud-config\nhostname: right-part\nrancher:\n  debug: perhaps\n\
                 write_files: 5x\nhostnam: x\n";
    let expected = [
        "boot.yml:4:10: rancher.debug: expected true or false, not a string",
        "boot.yml:5:14: write_files: expected a list, not a string",
        "boot.yml:6:10: hostnam: warning: unknown key; did you mean hostname?",
    ];
    is_reported("wrong-types", text, &expected)
}

#[test]
fn a_nul_byte_is_reported_with_its_position() -> Result<()> {
    is_reported(
        "nul",
        b"#cloud-config\nhostname: a\0b\n",
        &[":2:12: a NUL byte: this is not a text file"],
    )
}

#[test]
fn ten_megabytes_of_junk_are_refused() -> Result<()> {
    let mut junk = b"#cloud-config\n".to_vec();
    junk.extend(std::iter::repeat_n(b"junk: [x, y]\n", 800_000).flatten());
    is_reported("junk", &junk, &["bytes; at most 1048576 are read"])
}

#[test]
fn an_alias_bomb_does_not_go_off() -> Result<()> {
    let mut bomb = "#cloud-config\na: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ('b'..'l').zip('a'..) {
        let references = vec![format!("*{last}"); 10].join(", ");
        bomb.push_str(&format!("{this}: &{this} [{references}]\n"));
    }
    is_reported("bomb", bomb.as_bytes(), &["user-data"])
}

/// Boots with this user data. Each expected text must be on the console and in
/// `ros config validate`.
fn is_reported(name: &str, user_data: &[u8], expected: &[&str]) -> Result<()> {
    let folder = folder(name)?;
    let append = super::key_on_command_line(&folder)?;
    let config_drive = Some(drive::make(&folder, drive::Kind::ConfigDriveIso, user_data)?);
    let mut machine =
        Machine::start(&folder, Options { config_drive, append, ..Options::default() })?;
    machine.expect_login()?;
    let validation = machine.run("sudo ros config validate; echo exit status $?")?;
    assert!(validation.contains("exit status 1"), "{validation}");
    let console = machine.console();
    for text in expected {
        assert!(
            validation.contains(text),
            "ros config validate does not report {text:?}:\n{validation}"
        );
        assert!(
            console.contains(text),
            "the console does not report {text:?}:\n{}",
            machine.last_lines()
        );
    }
    machine.check_alarms()
}
