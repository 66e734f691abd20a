//! The pictures of the manual: in `docs/pictures`, each beside a text file with what it shows. The
//! bytes of a picture differ from run to run; its text does not. So a story compares the texts.

use crate::Machine;
use crate::screen::Screen;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Names the folder that gets new pictures. Without it, those of the manual are compared.
pub const FOLDER_VARIABLE: &str = "CORRAL_PICTURES";
/// Where the manual has them.
pub const IN_MANUAL: &str = "docs/pictures";
const COMMAND: &str = "cargo xtask docs --pictures";

/// The pictures of a story.
#[derive(Debug)]
pub struct Pictures {
    folder: PathBuf,
    names: Vec<&'static str>,
}

impl Pictures {
    /// They are taken into the folder of the machine.
    pub fn new(folder: &Path) -> Pictures {
        Pictures { folder: folder.to_path_buf(), names: Vec::new() }
    }

    /// Takes a picture of what the screen shows. `words` are masked in its text.
    pub fn take(
        &mut self,
        machine: &Machine,
        name: &'static str,
        screen: &Screen,
        words: &[(&str, &str)],
    ) -> Result<()> {
        machine.picture(name)?;
        let file = self.folder.join(format!("{name}.txt"));
        let text = screen.masked(words);
        println!("{name}:\n{text}");
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        self.names.push(name);
        Ok(())
    }

    /// Compares them with those of the manual, or writes them to the folder that the variable
    /// names.
    pub fn finish(&self) -> Result<()> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) {
            return self.copy_to(&folder);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no working copy")?;
        let problems = self.problems(&root.join(IN_MANUAL));
        ensure!(
            problems.is_empty(),
            "the pictures of the manual do not show what the screen shows now; `{COMMAND}` takes \
             them again (the new ones are in {}):\n{}",
            self.folder.display(),
            problems.join("\n")
        );
        Ok(())
    }

    fn copy_to(&self, folder: &Path) -> Result<()> {
        for name in self.names.iter().flat_map(|name| files(name)) {
            fs::copy(self.folder.join(&name), folder.join(&name))
                .with_context(|| format!("writing {}", folder.join(&name).display()))?;
        }
        Ok(())
    }

    fn problems(&self, manual: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        for name in &self.names {
            for file in files(name).iter().filter(|file| !manual.join(file).exists()) {
                problems.push(format!("{IN_MANUAL}/{file} is not there"));
            }
            let read = |folder: &Path| fs::read_to_string(folder.join(format!("{name}.txt")));
            if let (Ok(old), Ok(new)) = (read(manual), read(&self.folder)) {
                let shown = format!("{IN_MANUAL}/{name}.txt");
                problems.extend(
                    differences(&old, &new).into_iter().map(|line| format!("{shown}:{line}")),
                );
            }
        }
        problems
    }
}

fn files(name: &str) -> [String; 2] {
    [format!("{name}.png"), format!("{name}.txt")]
}

/// Each line that differs: its number, how it was, how it is.
fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let line = |lines: &[&str], at: usize| (*lines.get(at).unwrap_or(&"")).to_owned();
    let all = (0..old.len().max(new.len())).map(|at| (at + 1, line(&old, at), line(&new, at)));
    all.filter(|(_, old, new)| old != new)
        .map(|(number, old, new)| format!("{number}: it has {old:?}, the screen {new:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Pictures, differences};
    use std::fs;

    #[test]
    fn a_text_that_differs_is_shown_line_by_line() {
        assert_eq!(differences("a\nb\n", "a\nb\n"), Vec::<String>::new());
        assert_eq!(
            differences("a\nb\n", "a\nc\nd\n"),
            ["2: it has \"b\", the screen \"c\"", "3: it has \"\", the screen \"d\""]
        );
    }

    #[test]
    fn pictures_are_copied_and_then_there_is_no_problem() {
        let (here, manual) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let pictures = Pictures { folder: here.path().to_path_buf(), names: vec!["menu"] };
        fs::write(here.path().join("menu.png"), "png").unwrap();
        fs::write(here.path().join("menu.txt"), "new\n").unwrap();
        let missing =
            ["docs/pictures/menu.png is not there", "docs/pictures/menu.txt is not there"];
        assert_eq!(pictures.problems(manual.path()), missing);
        pictures.copy_to(manual.path()).unwrap();
        assert_eq!(pictures.problems(manual.path()), Vec::<String>::new());
        fs::write(manual.path().join("menu.txt"), "old\n").unwrap();
        assert_eq!(
            pictures.problems(manual.path()),
            ["docs/pictures/menu.txt:1: it has \"old\", the screen \"new\""]
        );
    }
}
