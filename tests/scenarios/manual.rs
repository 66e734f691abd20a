//! The manual is true: each YAML example of README and docs/*.md is booted and has its effect, and
//! each command of them works. A new example needs a check in `manual/configs.rs`, a new command
//! that cannot simply be run a row in `manual/commands.rs`.

mod commands;
mod configs;
mod stage;

use anyhow::{Context, Result, ensure};
use configs::{Example, ONLY_VALIDATED, SETUPS, Setup};
use stage::{Stage, find, is_config};
use vmtest::folder;
use vmtest::manual::{self, Block};

#[test]
fn each_example_of_the_manual_has_its_check() -> Result<()> {
    let blocks = manual::read()?;
    let mut missing: Vec<String> = Vec::new();
    for block in blocks.iter().filter(|block| block.language == "yaml") {
        if rows_of(block) != 1 {
            missing.push(format!(
                "{}: add a check to tests/scenarios/manual/configs.rs ({} rows are about it)",
                block.place(),
                rows_of(block)
            ));
        }
    }
    for (file, has) in rows() {
        if find(&blocks, file, has).is_err() {
            missing.push(format!("{file}: no example has {has:?}; remove its row in configs.rs"));
        }
    }
    missing.extend(commands::without_row(&blocks));
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(())
}

/// Each row of the tables: a file, and a text of its example.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let examples = SETUPS.iter().flat_map(|setup| setup.examples);
    examples
        .map(|example| (example.file, example.has))
        .chain(ONLY_VALIDATED.iter().map(|(file, has, _)| (*file, *has)))
}

fn rows_of(block: &Block) -> usize {
    rows().filter(|(file, has)| *file == block.file && block.text.contains(has)).count()
}

#[test]
fn the_manual_is_true() -> Result<()> {
    let folder = folder("manual")?;
    let blocks = manual::read()?;
    let stage = Stage::make(&folder)?;
    stage.prepare(&blocks)?;
    let mut failures = Vec::new();
    for setup in &SETUPS {
        boot(&stage, setup, &blocks, &mut failures)
            .with_context(|| format!("the machine {}; before it: {failures:?}", setup.name))?;
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn the_commands_of_the_manual_work() -> Result<()> {
    let folder = folder("manual-sh")?;
    let blocks = manual::read()?;
    let stage = Stage::make(&folder)?;
    stage.prepare(&blocks)?;
    commands::run(&stage, &blocks)
}

/// Boots a machine of the table, and waits for the effect of each of its examples.
fn boot(
    stage: &Stage<'_>,
    setup: &Setup,
    blocks: &[Block],
    failures: &mut Vec<String>,
) -> Result<()> {
    let mut parts = vec![setup.more.to_owned()];
    for Example { file, has, .. } in setup.examples {
        let block = find(blocks, file, has)?;
        parts.extend(is_config(block).then(|| stage.filled(&block.text)));
    }
    let mut machine = stage.start(setup.name, setup.nics, &parts)?;
    // A login ends where the example replaces the console.
    machine.expect_of_boot("wait-for-docker")?;
    for Example { file, has, check } in setup.examples {
        let place = find(blocks, file, has)?.place();
        println!("{place}: {has}");
        if machine.expect(check).is_err() {
            let seen = machine.run(&format!("set -x; {check}"));
            println!("{place}: FAILED: {seen:?}");
            failures.push(format!("{place}: the example has no effect ({has})"));
        }
    }
    machine.check_alarms()
}
