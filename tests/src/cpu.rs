//! The processor of a User-Mode Linux machine.
//!
//! The kernel and the processes of such a machine are processes of this host. Only one of them runs
//! at a time: at each system call and each page fault they wait for each other. On one processor
//! that is a switch. Between two it is an interrupt, which is slow where the host is a virtual
//! machine itself: stories took twice as long.

use crate::process::tied_unless_kept;
use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::Command;

/// A processor. As long as this exists, other machines prefer another one.
#[derive(Debug)]
pub(crate) struct Cpu {
    number: usize,
    _lock: File,
}

impl Cpu {
    /// The processor with the fewest machines, as far as their locks in `folder` tell.
    pub(crate) fn claim(folder: &Path) -> Result<Cpu> {
        let allowed = sched_getaffinity(None).context("listing the processors")?;
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut machines = 0;
        loop {
            for number in &cpus {
                let path = folder.join(format!("{number}-{machines}.lock"));
                let lock =
                    File::create(&path).with_context(|| format!("opening {}", path.display()))?;
                match lock.try_lock() {
                    Ok(()) => return Ok(Cpu { number: *number, _lock: lock }),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => {
                        return Err(error).with_context(|| format!("locking {}", path.display()));
                    }
                }
            }
            machines += 1;
        }
    }

    /// A program that is part of a machine, to be run here.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = tied_unless_kept(Path::new("taskset"));
        command.args(["--cpu-list", &self.number.to_string()]).arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::Cpu;
    use std::path::Path;

    #[test]
    fn a_machine_prefers_a_processor_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = Cpu::claim(folder.path()).unwrap();
        let rest: Vec<Cpu> = (1..cpus()).map(|_| Cpu::claim(folder.path()).unwrap()).collect();
        assert!(rest.iter().all(|cpu| cpu.number != first.number), "{first:?} {rest:?}");
        let number = first.number;
        drop(first);
        assert_eq!(Cpu::claim(folder.path()).unwrap().number, number, "it is free again");
    }

    #[test]
    fn a_program_runs_on_its_processor_only() {
        let folder = tempfile::tempdir().unwrap();
        let cpu = Cpu::claim(folder.path()).unwrap();
        let output = cpu.command(Path::new("nproc")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    }

    fn cpus() -> usize {
        std::thread::available_parallelism().unwrap().get()
    }
}
