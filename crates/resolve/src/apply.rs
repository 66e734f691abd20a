//! Writes the changes that were decided. PID 1's resolver calls this, and commands that change the
//! configuration. A command that only shows something never does. Apart from `store`, nothing else
//! in `resolve` writes.

use super::confirm::{self, AtBoot, Fate};
use super::effective::{APPLIED, EffectiveConfig};
use super::file_change::FileChange;
use super::files::{ServiceFiles, unlabel};
use super::layers::stored_file;
use super::lost_files::{LostFiles, PUT_BACK};
use super::root::Root;
use super::switchable::ENGINE;
use super::{Effects, Resolution, problem, replacement};
use anyhow::{Result, anyhow};
use corral_config::error::{Severity, capped};
use corral_engine::paths;
use corral_init::boot::resolver::NOTICE;
use corral_init::boot::state::REPAIRED;
use corral_machine::files::{lock, lock_until, remove_durably, write_atomic};
use corral_plan::resolved::Resolved;
use std::fs::File;
use std::time::{Duration, Instant};

/// For a lock that only tidies up.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Makes one change, durably.
pub(super) fn make(root: &Root, change: &FileChange) -> Result<()> {
    match change {
        FileChange::Write { path, bytes, mode } => write_atomic(&root.path(path), bytes, *mode),
        FileChange::Remove { path } => remove_durably(&root.path(path)),
    }
}

/// Makes changes in order, up to the first that fails.
pub(super) fn make_all(root: &Root, changes: &[FileChange]) -> Result<()> {
    changes.iter().try_for_each(|change| make(root, change))
}

/// Confirms the change that waits; None if there is none. The result is the lock of changes: a
/// roll-back that its timer starts now waits, and then finds nothing to undo.
pub(super) fn confirm(root: &Root) -> Result<Option<File>> {
    let locked = lock(&root.path(stored_file()))?;
    let confirmation = confirm::confirm(root);
    confirmation.iter().try_for_each(|change| make(root, change))?;
    tidy_up(root);
    Ok(confirmation.map(|_| locked))
}

/// Removes what is left of a change that does not wait any more. The caller has the lock. It is no
/// failure of the command if that stays: the next one tries it again.
pub(super) fn tidy_up(root: &Root) {
    if let Some(Err(error)) = confirm::leftover(root).map(|change| make(root, &change)) {
        eprintln!("{}: {error:#}", confirm::previous_file().display());
    }
}

/// The same for a caller without the lock: a boot has rolled the change back, or a power cut came
/// before the removal.
pub(super) fn tidy_up_alone(root: &Root) {
    if confirm::leftover(root).is_none() {
        return;
    }
    // PID 1 waits for this process. What holds the lock does the same.
    if let Ok(_locked) = lock_until(&root.path(stored_file()), Instant::now() + LONGEST_WAIT) {
        tidy_up(root);
    }
}

/// Rolls that change back, if it still waits: under the same lock.
pub(super) fn roll_back(root: &Root, id: &str) -> Result<()> {
    let _lock = lock(&root.path(stored_file()))?;
    make_all(root, &confirm::roll_back(root, id)?)?;
    tidy_up(root);
    Ok(())
}

/// Writes the outcome of an unconfirmed change; returns what it means for this boot.
pub(super) fn settle_unconfirmed(root: &Root, fate: &Fate) -> AtBoot {
    match make_all(root, fate.changes()) {
        Ok(()) => fate.at_boot(),
        Err(error) => fate.at_boot_unwritten(&error),
    }
}

/// Restores lost files, or deletes the copies of removed ones. After a failure the others are still
/// handled.
pub(super) fn settle_lost(root: &Root, lost: &LostFiles) -> Result<()> {
    match lost {
        LostFiles::Removed(copies) => {
            let results: Vec<Result<()>> = copies.iter().map(|copy| make(root, copy)).collect();
            results.into_iter().collect()
        }
        LostFiles::TakenAway { put_back, last_resort, unreadable } => {
            let read = unreadable.as_ref().map_or(Ok(()), |reason| Err(anyhow!("{reason}")));
            put_back_all(root, put_back, last_resort.as_ref(), read)
        }
    }
}

/// The result is the first error: of reading the copies, or of a later step.
fn put_back_all(
    root: &Root,
    files: &[FileChange],
    last_resort: Option<&FileChange>,
    mut result: Result<()>,
) -> Result<()> {
    let mut written = String::new();
    for file in files {
        match make(root, file) {
            Ok(()) => written.push_str(&line_of(file)),
            Err(error) => result = result.and(Err(error)),
        }
    }
    if written.is_empty()
        && let Some(file) = last_resort
    {
        make(root, file)?;
        written.push_str(&line_of(file));
    }
    make(root, &FileChange::write(PUT_BACK, written, 0o644))?;
    // Once in a boot: files that are removed from now on were removed on purpose.
    make(root, &FileChange::remove(REPAIRED)).and(result)
}

fn line_of(change: &FileChange) -> String {
    format!("{}\n", change.path().display())
}

/// Keeps copies of good files, and who may log in. Without room for them there are none; nothing
/// else depends on them.
pub(super) fn keep_copies(root: &Root, effects: &Effects) {
    for copy in effects.last_good.iter().chain(&effects.way_in) {
        let _ = make(root, copy);
    }
}

impl Resolution {
    /// Makes its changes. A service whose files could not be written is reported, and starts
    /// without them.
    pub(super) fn apply(self, root: &Root) -> Resolved {
        let Resolution { mut resolved, effects } = self;
        keep_copies(root, &effects);
        let mut failed = Vec::new();
        let certificates = match &effects.certificates {
            Some(bundle) => FileChange::write(paths::CERTIFICATES, bundle.as_str(), 0o644),
            None => FileChange::remove(paths::CERTIFICATES),
        };
        if let Err(error) = make(root, &certificates) {
            failed.push(problem::error("ca_certs", &format!("{error:#}")));
        }
        for ServiceFiles { service, changes } in &effects.service_files {
            if let Err(error) = make_all(root, changes) {
                unlabel(&mut resolved.plan, service);
                failed.push(problem::error("write_files", &format!("{service}: {error:#}")));
            }
        }
        resolved.problems.extend(capped("services", failed));
        // Without it the built-in engine runs until a next one is checked.
        if let Some(Err(error)) = effects.last_engine.map(|change| make(root, &change)) {
            resolved.problems.push(problem::error(ENGINE.key, &format!("{error:#}")));
        }
        resolved
    }
}

/// Writes what programs in system containers read, and what a user sees at login.
pub(super) fn publish(root: &Root, resolved: &Resolved, is_applied: bool) -> Result<()> {
    make_all(root, &publication(resolved, is_applied)?)
}

/// The files for that. If PID 1 applies this configuration now, `applied.json` is written last.
pub(super) fn publication(resolved: &Resolved, is_applied: bool) -> Result<Vec<FileChange>> {
    let effective =
        EffectiveConfig { config: resolved.config.clone(), problems: resolved.problems.clone() };
    let text = serde_json::to_vec(&effective)?;
    // Readable by root only: it contains secrets.
    let applied = is_applied.then(|| FileChange::write(APPLIED, text.clone(), 0o600));
    let mut changes = vec![FileChange::write(paths::CONFIG, text, 0o600)];
    let rancher = &resolved.config.rancher;
    changes.push(if rancher.log || rancher.debug {
        FileChange::write(paths::SHOW_LOGS, "", 0o644)
    } else {
        FileChange::remove(paths::SHOW_LOGS)
    });
    let errors =
        resolved.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    changes.push(if errors == 0 {
        FileChange::remove(NOTICE)
    } else {
        let text = format!(
            "The configuration has {errors} error(s); what is wrong, and what takes effect: sudo \
             ros config status\n"
        );
        FileChange::write(NOTICE, text, 0o644)
    });
    changes.extend(applied);
    Ok(changes)
}

/// Lets services that start from now on see the stored configuration, without applying it.
pub(super) fn refresh(root: &Root) -> Result<()> {
    let at_boot = settle_unconfirmed(root, &confirm::decide(root));
    let mut resolution = super::resolve_after(root, at_boot);
    // The stored login comes from an applied configuration, and so does the engine that runs. This
    // one is only stored.
    resolution.effects.way_in = None;
    resolution.effects.last_engine = None;
    let of_images = EffectiveConfig::applied().problems.into_iter();
    resolution.resolved.problems.extend(of_images.filter(replacement::is_about_one));
    publish(root, &resolution.apply(root), false)
}
