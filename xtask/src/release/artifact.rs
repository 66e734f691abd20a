//! Files that are made in parallel, each only if what it is made of has changed. A record of each
//! file is in `target/corral/publish`: what it was made of, its size and its digest. What an
//! earlier run has made is read again: the digests that are published are of the files as they are
//! now.

use crate::sum::Sum;
use crate::{durable, paths, progress};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// To be raised when any file is written in another way.
const FORMAT: u32 = 3;

type Make<'a> = Box<dyn FnOnce(&Path) -> Result<()> + Send + 'a>;

/// A file to make.
pub(super) struct Job<'a> {
    pub(super) output: PathBuf,
    /// What the file is made of, as a hash or in words.
    pub(super) inputs: String,
    /// Writes the file at another path, from which it is then renamed.
    pub(super) make: Make<'a>,
}

/// A file of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Artifact {
    pub(super) path: PathBuf,
    inputs: String,
    pub(super) sum: Sum,
}

/// A hash over texts.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(format!("{}:{part}", part.len())));
    hex::encode(hash.finalize())
}

/// Makes the files, as many at a time as there are processors. In the order of the jobs.
pub(super) fn make_all(jobs: Vec<Job<'_>>) -> Result<Vec<Artifact>> {
    let count = jobs.len();
    let queue = Mutex::new(jobs.into_iter().enumerate().collect::<VecDeque<_>>());
    let results = Mutex::new((0..count).map(|_| None).collect::<Vec<Option<Result<Artifact>>>>());
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work_off(&queue, &results));
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().map(|artifact| artifact.context("a job did not run")?).collect()
}

fn work_off(
    queue: &Mutex<VecDeque<(usize, Job<'_>)>>,
    results: &Mutex<Vec<Option<Result<Artifact>>>>,
) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some((number, job)) = next() {
        let artifact = make(job);
        results.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(artifact);
    }
}

/// Makes one file, unless it was made of the same before.
fn make(job: Job<'_>) -> Result<Artifact> {
    let inputs = key(&[&FORMAT.to_string(), &job.inputs]);
    let record = record_of(&job.output);
    let is_same = |old: &Artifact| old.inputs == inputs && old.sum.is_of(&old.path);
    if let Some(old) = durable::load_record(&record).filter(is_same) {
        return Ok(old);
    }
    let _ = fs::remove_file(&record);
    let folder = job.output.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let name = job.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = job.output.with_file_name(format!("{name}.new"));
    let _ = fs::remove_file(&fresh);
    let work = job.make;
    progress::step(&format!("writing {name}"), || work(&fresh))
        .with_context(|| format!("making {name}"))?;
    durable::sync(&fresh)?;
    durable::rename(&fresh, &job.output)?;
    let artifact = Artifact { sum: Sum::of(&job.output)?, path: job.output, inputs };
    fs::create_dir_all(paths::cache("publish"))?;
    durable::write(&record, &serde_json::to_vec_pretty(&artifact)?)?;
    Ok(artifact)
}

fn record_of(output: &Path) -> PathBuf {
    let path = output.display().to_string();
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    paths::cache("publish").join(format!("{name}.{}.json", &key(&[&path])[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_since_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("file");
        let run = || {
            let make = Box::new(|path: &Path| fs::write(path, "made").context("writing"));
            make_all(vec![Job { output: output.clone(), inputs: String::new(), make }]).unwrap()
        };
        let artifact = run();
        fs::write(&output, "MADE").unwrap();
        assert_eq!(run(), artifact);
        assert_eq!(fs::read(&output).unwrap(), b"made");
        fs::remove_file(record_of(&output)).unwrap();
    }

    #[test]
    fn parts_of_a_key_do_not_run_into_each_other() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
    }
}
