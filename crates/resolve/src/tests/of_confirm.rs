//! Changes that wait for their confirmation.

use super::*;

#[test]
fn a_change_has_its_time_in_its_boot_and_in_the_next() {
    let before = (PREVIOUS, "hostname: before\n");
    let machine = Machine::new("pending", &[(PENDING, NOW), before]);
    assert_eq!(confirm::decide(&machine.root()), Fate::Waits(one()));
    machine.write(PENDING, ONCE);
    let note = r#"{"id":"one","within":60,"boot_id":"second","restarted":true}"#;
    let expected =
        Fate::WaitsAgain { change: one(), note: FileChange::write(PENDING, note, 0o600) };
    assert_eq!(confirm::decide(&machine.root()), expected);
    let resolution = resolve(&machine.root());
    assert_eq!(
        (hostname(&resolution), resolution.resolved.unconfirmed.clone()),
        ("stored", Some(one()))
    );
    assert_eq!(resolution.effects.way_in, None, "it is not kept as long as it may be rolled back");
    apply::settle_unconfirmed(&machine.root(), &expected);
    assert_eq!(confirm::decide(&machine.root()), Fate::Waits(one()));
}

#[test]
fn in_the_second_boot_a_change_is_rolled_back_and_seen_so_before_it_is_written() {
    let machine =
        Machine::new("rolled-back", &[(PENDING, TWICE), (PREVIOUS, "hostname: before\n")]);
    let expected = Fate::RolledBack(vec![
        FileChange::write(STORE, "hostname: before\n", 0o600),
        FileChange::remove(PENDING),
    ]);
    assert_eq!(confirm::decide(&machine.root()), expected);
    let shown = resolve(&machine.root());
    assert_eq!((hostname(&shown), shown.resolved.unconfirmed.clone()), ("before", None));
    assert!(
        shown
            .resolved
            .problems
            .iter()
            .any(|problem| problem.to_string().contains("was rolled back"))
    );
    let at_boot = apply::settle_unconfirmed(&machine.root(), &expected);
    let applied = resolve_after(&machine.root(), at_boot);
    assert_eq!(applied.effects, shown.effects);
    assert_eq!(applied.resolved.config, shown.resolved.config);
    assert_eq!(applied.resolved.problems, shown.resolved.problems);
    assert_eq!(confirm::decide(&machine.root()), Fate::None);
}

#[test]
fn a_change_becomes_the_last_good_one_when_it_is_confirmed() {
    let before = (PREVIOUS, "hostname: before\n");
    let machine = Machine::new("last-good", &[before, (COPY_OF_STORE, "hostname: before\n")]);
    let of_boot = FileChange::write(COPY_OF_BOOT, "hostname: from-boot\n", 0o600);
    for pending in [NOW, ONCE] {
        machine.write(PENDING, pending);
        let copies = resolve(&machine.root()).effects.last_good;
        assert_eq!(copies, std::slice::from_ref(&of_boot), "{pending}");
    }
    // A power cut that empties the store brings back what was before.
    machine.write(STORE, "");
    assert_eq!(hostname(&resolve(&machine.root())), "before");
    machine.write(STORE, "hostname: stored\n");
    apply::make(&machine.root(), &confirm::confirm(&machine.root()).unwrap()).unwrap();
    let of_store = FileChange::write(COPY_OF_STORE, "hostname: stored\n", 0o600);
    assert_eq!(resolve(&machine.root()).effects.last_good, [of_boot, of_store]);
}

#[test]
fn a_store_that_was_not_there_is_gone_after_the_rollback() {
    let machine = Machine::new(
        "nothing-before",
        &[(PENDING, TWICE), (PREVIOUS, ""), (COPY_OF_STORE, "a: 1\n")],
    );
    let expected = [STORE, COPY_OF_STORE, PENDING].map(FileChange::remove).to_vec();
    assert_eq!(confirm::decide(&machine.root()), Fate::RolledBack(expected));
    assert_eq!(hostname(&resolve(&machine.root())), "from-boot");
    machine.remove(PREVIOUS);
    let resolution = resolve(&machine.root());
    assert_eq!(hostname(&resolution), "stored", "what was before cannot be read");
    let says = |problem: &Problem| problem.to_string().contains("reading what was before");
    assert!(resolution.resolved.problems.iter().any(says));
}

#[test]
fn before_a_change_the_store_is_written_down_and_then_that_it_waits() {
    let machine = Machine::new("prepare", &[]);
    let expected = [
        FileChange::write(PREVIOUS, "hostname: stored\n", 0o600),
        FileChange::write(PENDING, NOW, 0o600),
    ];
    assert_eq!(confirm::prepare(&machine.root(), one()).unwrap(), expected);
    assert_eq!(confirm::confirm(&machine.root()), None);
    assert_eq!(confirm::previous(&machine.root()).unwrap(), None);
    confirm::ensure_none_waits(&machine.root()).unwrap();
    apply::make_all(&machine.root(), &expected).unwrap();
    let before = confirm::previous(&machine.root()).unwrap();
    assert_eq!(before.as_deref(), Some("hostname: stored\n"));
    assert!(confirm::prepare(&machine.root(), one()).is_err(), "one change waits already");
    // Keys and passwords: what is rolled back must not let a removed key in again.
    let why = confirm::ensure_none_waits(&machine.root()).unwrap_err().to_string();
    assert!(why.ends_with("nothing was changed"), "{why}");
    assert_eq!(confirm::confirm(&machine.root()), Some(FileChange::remove(PENDING)));
}

#[test]
fn nothing_of_a_change_is_left_when_it_is_confirmed_or_rolled_back() {
    let waits = [(PENDING, NOW), (PREVIOUS, "a: secret\n")];
    let machine = Machine::new("settled", &waits);
    let is_left = || waits.iter().any(|(path, _)| machine.root().exists(path));
    assert_eq!(confirm::leftover(&machine.root()), None);
    assert!(apply::confirm(&machine.root()).unwrap().is_some());
    assert!(!is_left());
    assert!(apply::confirm(&machine.root()).unwrap().is_none());
    waits.iter().for_each(|(path, text)| machine.write(path, text));
    apply::roll_back(&machine.root(), "one").unwrap();
    assert!(!is_left());
    // After a power cut, or of a version that left it.
    machine.write(PREVIOUS, "a: secret\n");
    assert!(apply::confirm(&machine.root()).unwrap().is_none());
    assert!(!is_left());
    // A boot rolls it back, before any command.
    machine.write(PREVIOUS, "a: secret\n");
    machine.write(PENDING, TWICE);
    apply::tidy_up_alone(&machine.root());
    assert!(is_left());
    apply::settle_unconfirmed(&machine.root(), &confirm::decide(&machine.root()));
    apply::tidy_up_alone(&machine.root());
    assert!(!is_left());
}

#[test]
fn what_was_before_stays_while_it_is_not_known_that_no_change_waits() {
    let machine = Machine::new("unreadable", &[(PENDING, "{"), (PREVIOUS, "a: b\n")]);
    assert_eq!(Pending::load(&machine.root()), None);
    assert_eq!(confirm::leftover(&machine.root()), None);
    apply::tidy_up_alone(&machine.root());
    assert!(machine.root().exists(PREVIOUS));
}

/// The timer of a change may come when that is just confirmed, and another one waits.
#[test]
fn a_roll_back_is_of_its_own_change_and_of_no_later_one() {
    let machine = Machine::new("later", &[(PENDING, NOW), (PREVIOUS, "hostname: before\n")]);
    assert_eq!(confirm::roll_back(&machine.root(), "zero").unwrap(), []);
    apply::roll_back(&machine.root(), "zero").unwrap();
    assert_eq!(machine.root().text(STORE), "hostname: stored\n");
    assert_eq!(confirm::decide(&machine.root()), Fate::Waits(one()));
    apply::roll_back(&machine.root(), "one").unwrap();
    assert_eq!(machine.root().text(STORE), "hostname: before\n");
    // A change of a version without ids.
    let old = r#"{"within":60,"boot_id":"second","restarted":false}"#;
    machine.write(PENDING, old);
    machine.write(PREVIOUS, "hostname: before\n");
    let change = Unconfirmed { id: String::new(), within: 60 };
    assert_eq!(confirm::decide(&machine.root()), Fate::Waits(change));
    assert!(!confirm::roll_back(&machine.root(), "").unwrap().is_empty());
}

#[test]
fn a_confirmation_and_a_roll_back_wait_for_the_lock_and_one_of_them_is_done() {
    let machine = Machine::new("lock", &[(PENDING, NOW), (PREVIOUS, "hostname: before\n")]);
    let locked = corral_machine::files::lock(&machine.root().path(STORE)).unwrap();
    let (sender, done) = std::sync::mpsc::channel();
    let is_confirmed = std::thread::scope(|scope| {
        let (confirmed, rolled_back) = (sender.clone(), sender);
        let (root, same) = (machine.root(), machine.root());
        let confirming = scope.spawn(move || {
            let result = apply::confirm(&root).unwrap().is_some();
            confirmed.send(()).unwrap();
            result
        });
        scope.spawn(move || {
            apply::roll_back(&same, "one").unwrap();
            rolled_back.send(()).unwrap();
        });
        assert!(done.recv_timeout(std::time::Duration::from_millis(100)).is_err());
        drop(locked);
        confirming.join().unwrap()
    });
    let stored = if is_confirmed { "stored" } else { "before" };
    assert_eq!(hostname(&resolve(&machine.root())), stored);
    assert_eq!(confirm::decide(&machine.root()), Fate::None);
}

#[test]
fn what_is_left_of_its_time_is_known() {
    let machine = Machine::new("time", &[("/proc/uptime", "100.25 7.0\n")]);
    apply::make_all(&machine.root(), &confirm::prepare(&machine.root(), one()).unwrap()).unwrap();
    let left = || Pending::load(&machine.root()).unwrap().seconds_left(&machine.root());
    assert_eq!(left(), Some(60));
    for (uptime, expected) in [("130.5 9.0\n", Some(30)), ("999.0 9.0\n", Some(0)), ("", None)] {
        machine.write("/proc/uptime", uptime);
        assert_eq!(left(), expected, "{uptime}");
    }
    // The boot after it could not note that its time begins again.
    let began = Pending::load(&machine.root()).unwrap();
    let other_boot = Pending { boot_id: "first".to_owned(), ..began };
    machine.write("/proc/uptime", "130.5 9.0\n");
    assert_eq!(other_boot.seconds_left(&machine.root()), None);
    // Of a version that does not note it.
    machine.write(PENDING, NOW);
    machine.write("/proc/uptime", "130.5 9.0\n");
    assert_eq!(left(), None);
}

#[test]
fn the_uptime_is_in_complete_seconds() {
    let machine = Machine::new("uptime", &[]);
    let cases = [("350735.47 234388.90\n", Some(350_735)), ("0.02 0.00", Some(0)), ("", None)];
    for (text, seconds) in cases {
        machine.write("/proc/uptime", text);
        assert_eq!(machine.root().uptime(), seconds, "{text}");
    }
}
