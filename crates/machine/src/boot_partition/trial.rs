//! An upgrade on trial: what is known of it, in one sector that stage 0, the checks and the version
//! before it share.

use std::fmt::Write;

/// How far the trial has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The next boot tries the new version.
    Armed,
    /// A boot of it began. If a later boot finds this stage, that boot did not succeed.
    Trying,
    /// Its checks failed.
    Failed,
}

/// A version on trial: it becomes the default when its checks have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    pub version: String,
    /// The version that stays the default during the trial.
    pub before: String,
    pub stage: Stage,
    /// Seconds within which its checks must pass.
    pub deadline: u32,
    /// Why it failed.
    pub reason: String,
}

/// What stage 0 writes about a trial at a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtBoot {
    Nothing,
    /// The trial is over: its record is emptied.
    Over,
    /// The new record.
    Keep(Trial),
}

/// What fits into the sector beside the rest.
const LONGEST_REASON: usize = 300;
const DEFAULT_DEADLINE: u32 = 600;

impl Trial {
    /// Reads what `to_file` wrote; None if there is no trial.
    pub fn parse(text: &str) -> Option<Trial> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_default()
        };
        let stage = match field("stage") {
            "armed" => Stage::Armed,
            "trying" => Stage::Trying,
            "failed" => Stage::Failed,
            _ => return None,
        };
        Some(Trial {
            version: field("version").to_owned(),
            before: field("before").to_owned(),
            stage,
            deadline: field("deadline").parse().unwrap_or(DEFAULT_DEADLINE),
            reason: field("reason").to_owned(),
        })
    }

    /// Lines of `name=value`.
    pub fn to_file(&self) -> String {
        let stage = match self.stage {
            Stage::Armed => "armed",
            Stage::Trying => "trying",
            Stage::Failed => "failed",
        };
        let mut reason = String::new();
        for letter in
            self.reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter })
        {
            if reason.len() + letter.len_utf8() > LONGEST_REASON {
                break;
            }
            reason.push(letter);
        }
        let mut text = String::new();
        let _ = write!(
            text,
            "stage={stage}\nversion={}\nbefore={}\ndeadline={}\nreason={reason}\n",
            self.version, self.before, self.deadline
        );
        text
    }

    /// What the boot of `version`, with another one or the same as `default`, makes of it.
    pub(super) fn at_boot(&self, version: &str, default: &str) -> AtBoot {
        let failed = |reason: &str| {
            AtBoot::Keep(Trial { stage: Stage::Failed, reason: reason.to_owned(), ..self.clone() })
        };
        match self.stage {
            Stage::Failed => AtBoot::Nothing,
            // It had proved itself when the power was cut.
            _ if self.version == default => AtBoot::Over,
            Stage::Armed if self.version == version => {
                AtBoot::Keep(Trial { stage: Stage::Trying, ..self.clone() })
            }
            Stage::Armed => failed("its kernel did not come up, or the firmware did not start it"),
            Stage::Trying => failed("it did not come up: it stopped, hung, or the power was cut"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(stage: Stage) -> Trial {
        Trial {
            version: "2".to_owned(),
            before: "1".to_owned(),
            stage,
            deadline: 90,
            reason: String::new(),
        }
    }

    #[test]
    fn a_trial_survives_the_sector() {
        let long = Trial { reason: "why\n".repeat(200), ..trial(Stage::Failed) };
        let text = long.to_file();
        assert!(text.len() <= 512, "{}", text.len());
        let read = Trial::parse(&text).unwrap();
        assert_eq!((read.stage, read.deadline), (Stage::Failed, 90));
        assert!(read.reason.starts_with("why why"));
        assert_eq!(Trial::parse("\n\n"), None);
    }

    #[test]
    fn a_boot_tries_once() {
        let kept = |stage: Stage, version: &str| match trial(stage).at_boot(version, "1") {
            AtBoot::Keep(trial) => Some(trial.stage),
            _ => None,
        };
        assert_eq!(kept(Stage::Armed, "2"), Some(Stage::Trying));
        // Whichever version boots next, the trial did not end well.
        assert_eq!(kept(Stage::Trying, "1"), Some(Stage::Failed));
        assert_eq!(kept(Stage::Trying, "2"), Some(Stage::Failed));
        // This boot was to be the new version's.
        assert_eq!(kept(Stage::Armed, "1"), Some(Stage::Failed));
        assert_eq!(kept(Stage::Failed, "2"), None);
        // A cut of power after the switch: it had proved itself.
        assert_eq!(trial(Stage::Trying).at_boot("2", "2"), AtBoot::Over);
    }
}
