//! `cargo xtask test`: everything that must pass. Ends with one line `N passed, N failed, N skipped`.

use crate::image::{self, Ingredients};
use crate::stories::{self, Stories};
use crate::test_kernel::{self, Found};
use crate::{binaries, setup, sh, tidy, tools, uml_image, variants};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vmtest::Kind;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the stories whose name contains this, and nothing else; may be given several times, and each must match
    #[arg(long, value_name = "NAME")]
    story: Vec<String>,
    /// Only what needs no machine: formatting, lints, house rules, unit tests
    #[arg(long, conflicts_with_all = ["story", "all", "release_image"])]
    no_machines: bool,
    /// Every story in QEMU too, on the product's own kernel: those of User-Mode Linux a second time
    #[arg(long)]
    all: bool,
    /// The image as a release has it: its programs, without the hooks by which stories ask for a bug, packed as densely
    #[arg(long)]
    release_image: bool,
    /// Run each story so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Leave the machines on that a story ends with, and say how to log in
    #[arg(long, requires = "story")]
    keep: bool,
}

/// Two stories in QEMU at a time: that is what two cores carry. Beside them one of User-Mode Linux, for they often wait.
const SLOTS: (usize, usize) = (3, 2);

/// What the test runners counted.
#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs everything; an error if anything failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install()?;
    let (mut count, mut phases) = (Count::default(), Phases::default());
    if options.story.is_empty() {
        without_machines(&mut count, &mut phases)?;
    }
    if !options.no_machines {
        with_machines(options, &mut count, &mut phases)?;
    }
    phases.print();
    println!("\n{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    if count.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

fn without_machines(count: &mut Count, phases: &mut Phases) -> Result<()> {
    let mut format = sh::cargo();
    format.args(["fmt", "--all", "--check"]);
    phases.time("formatting", || count.check("formatting", format))?;
    phases.time("lints", || {
        count.check("lints of the product", lints(binaries::of_product("clippy")))?;
        count.check("lints of the workshop", lints(binaries::of_workshop("clippy")))
    })?;
    phases.time("tidy", || {
        count.record("tidy", tidy::check());
        Ok(())
    })?;
    phases.time("unit tests", || {
        let mut product = binaries::of_product("test");
        product.arg("--quiet");
        count.tests("unit tests of the product", product)?;
        count.tests("unit tests of the workshop", units(binaries::of_workshop("test")))
    })
}

fn lints(mut cargo: Command) -> Command {
    cargo.args(["--all-targets", "--quiet", "--", "-D", "warnings"]);
    cargo
}

/// All but the stories and the tests of the engine, which run later, on machines.
fn units(mut cargo: Command) -> Command {
    cargo.args(["--lib", "--bins", "--quiet"]);
    cargo
}

fn with_machines(options: &Options, count: &mut Count, phases: &mut Phases) -> Result<()> {
    let stories = phases.time("building the stories", || Stories::build(&options.story))?;
    let mut images = Images::prepare(options, stories.need_qemu() || options.all, (count, phases))?;
    let has_uml = images.without_uml.is_none();
    if options.story.is_empty() && has_uml && images.for_qemu {
        phases.time("both images hold one system", || {
            count.record("both images hold one system", uml_image::check(&images.ingredients));
            Ok(())
        })?;
    }
    eprintln!("== stories");
    let run = stories::Options { in_qemu: !has_uml, keep: options.keep, times: options.times, slots: SLOTS };
    let mut outcomes = phases.time("stories", || stories.run(&run))?;
    let late = stories.that_ran_in(Kind::Qemu, &outcomes);
    if !images.for_qemu && !late.is_empty() {
        eprintln!("== stories that need QEMU and did not before: again, on an image of what was tested");
        images = Images::prepare(options, true, (count, phases))?;
        outcomes.retain(|outcome| !late.has(outcome));
        outcomes.extend(phases.time("stories that need QEMU now", || late.run(&run))?);
    }
    if options.all && has_uml {
        let rest = stories.that_ran_in(Kind::Uml, &outcomes);
        let run = stories::Options { in_qemu: true, ..run };
        outcomes.extend(phases.time("the same in QEMU", || rest.run(&run))?);
    }
    stories::print(&outcomes);
    if let Some(why) = images.without_uml {
        println!("nothing ran under User-Mode Linux: {why}");
    }
    let (passed, failed, skipped) = stories::count(&outcomes);
    count.passed += passed;
    count.failed += failed;
    count.skipped += skipped;
    Ok(())
}

/// What stories boot.
struct Images {
    ingredients: Ingredients,
    /// Is there one for QEMU? It takes longer, and not every run needs it.
    for_qemu: bool,
    /// Why there is none for User-Mode Linux.
    without_uml: Option<String>,
}

impl Images {
    fn prepare(
        options: &Options,
        for_qemu: bool,
        (count, phases): (&mut Count, &mut Phases),
    ) -> Result<Images> {
        let wanted = image::Options { release: options.release_image, ..image::Options::default() };
        let ingredients = phases.time("packages and programs", || image::gather(&wanted))?;
        let without_uml = uml(&ingredients, count, phases);
        let for_qemu = for_qemu || without_uml.is_some();
        if for_qemu {
            phases.time("image", || image::write(&ingredients, &wanted))?;
            phases.time("releases", || variants::prepare(&ingredients))?;
        }
        phases.time("tools", tools::prepare)?;
        Ok(Images { ingredients, for_qemu, without_uml })
    }
}

/// Makes what machines of User-Mode Linux boot; why not, if there is nothing. A machine that cannot fetch the kernel's
/// source or compiler is no failure. A patch that does not fit is one; the stories run in QEMU in either case.
fn uml(ingredients: &Ingredients, count: &mut Count, phases: &mut Phases) -> Option<String> {
    let made = phases.time("test kernel", test_kernel::prepare).and_then(|found| match found {
        Found::Kernel(kernel) => phases
            .time("image for User-Mode Linux", || uml_image::prepare(ingredients, &kernel))
            .map(|()| None),
        Found::Unavailable(why) => Ok(Some(format!("{why:#}"))),
    });
    let why = match made {
        Ok(why) => why,
        Err(error) => {
            let why = format!("{error:#}");
            count.record("the image for User-Mode Linux", Err(error));
            Some(why)
        }
    };
    if let Some(why) = &why {
        eprintln!("every story runs in QEMU: {why}");
    }
    why
}

/// How long each part of a run took.
#[derive(Debug, Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Phases {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        let result = work();
        self.0.push((name, begin.elapsed()));
        result
    }

    fn print(&self) {
        println!("\n{:<44} {:>10}", "phase", "seconds");
        for (name, took) in &self.0 {
            println!("{name:<44} {:>10.1}", took.as_secs_f64());
        }
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        println!("{:<44} {:>10.1}", "all", all.as_secs_f64());
    }
}

impl Count {
    fn record(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    fn check(&mut self, name: &str, mut command: Command) -> Result<()> {
        eprintln!("== {name}");
        let status = command.status().with_context(|| format!("starting {name}"))?;
        self.record(name, if status.success() { Ok(()) } else { Err(anyhow::anyhow!("{status}")) });
        Ok(())
    }

    /// Runs tests, shows what they print, and counts by their closing lines.
    fn tests(&mut self, name: &str, mut runner: Command) -> Result<()> {
        eprintln!("== {name}");
        let mut child = runner.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("no output")?;
        let before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            self.add(&line);
        }
        // A runner that fails without having counted a failure could not even be built.
        if !child.wait()?.success() && self.failed == before {
            self.failed += 1;
        }
        Ok(())
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| -> u64 {
            let words: Vec<&str> = rest.split([' ', ';']).filter(|part| !part.is_empty()).collect();
            let position = words.iter().position(|part| *part == word);
            position.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.skipped += number("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn closing_lines_are_counted() {
        let mut count = Count::default();
        count.add(
            "test result: FAILED. 6 passed; 8 failed; 1 ignored; 0 measured; 0 filtered out; finished in 3s",
        );
        count.add("test some::thing ... ok");
        assert_eq!((count.passed, count.failed, count.skipped), (6, 8, 1));
    }
}
