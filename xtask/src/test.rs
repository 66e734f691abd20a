//! `cargo xtask test`: everything that must pass. Its last line is `N passed, N failed, N skipped`.
//! An error that ends it early is one more failure.

mod report;

use self::report::Report;
use crate::image::{self, Ingredients};
use crate::lock::{Building, InUse};
use crate::release::SUMS;
use crate::stories::{self, Stories};
use crate::test_kernel::{self, Availability};
use crate::{
    binaries, engines, kernel_headers, setup, sh, stock_images, tidy, tools, uml_image, variants,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;
use vmtest::Kind;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the stories whose name contains this, and nothing else; may be given several times, and
    /// each must match
    #[arg(long, value_name = "NAME")]
    story: Vec<String>,
    /// Only what needs no machine: formatting, lints, house rules, unit tests
    #[arg(long, conflicts_with_all = ["story", "all", "release_image"])]
    no_machines: bool,
    /// Every story in QEMU too, on the product's own kernel: those of User-Mode Linux a second time
    #[arg(long)]
    all: bool,
    /// The image as a release has it: its programs, without the hooks by which stories trigger a
    /// bug, packed as densely
    #[arg(long)]
    release_image: bool,
    /// Boot the disks in the files of this release instead of disks that the stories install: for
    /// --story platforms and --story disk_images
    #[arg(long, value_name = "FOLDER", requires = "story")]
    release_folder: Option<PathBuf>,
    /// Run each story so many times
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    times: u32,
    /// Keep the machines running that a story ends with, also where it fails, and print how to log
    /// in
    #[arg(long, requires = "story")]
    keep: bool,
    /// Build no image: use the image, tools and releases that are there, for a change in a story
    /// only; an error if there are none
    #[arg(long, requires = "story", conflicts_with = "release_image")]
    no_image: bool,
}

/// Four stories at a time, because they often wait. Two of them in QEMU, which is what two cores
/// can run.
const SLOTS: (usize, usize) = (4, 2);
/// The modules of stories that boot disks of a release.
const TAKE_RELEASES: [&str; 2] = ["platforms::", "disk_images::"];

/// Runs everything; an error if anything failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    if let Err(error) = everything(options, &mut report) {
        report.count.record("the run ended early", Err(error));
    }
    report.print(options.times)?;
    ensure!(report.failed() == 0, "not everything passed");
    Ok(())
}

fn everything(options: &Options, report: &mut Report) -> Result<()> {
    if options.story.is_empty() && !options.no_machines {
        setup::need_root(
            "the tests of the engine (without them: --no-machines, --story NAME) need namespaces",
        )?;
    }
    setup::install()?;
    if options.story.is_empty() {
        without_machines(report)?;
    }
    if !options.no_machines {
        with_machines(options, report)?;
    }
    Ok(())
}

fn without_machines(report: &mut Report) -> Result<()> {
    let Report { count, phases, .. } = report;
    let mut format = sh::cargo();
    format.args(["fmt", "--all", "--check"]);
    phases.time("formatting", || count.check("formatting", format))?;
    phases.time("lints", || {
        count.check("lints of the product", lints(binaries::of_product("clippy")))?;
        let mut pid_1 = binaries::of_pid_1();
        pid_1.args(["--lib", "--quiet", "--", "-D", "warnings"]);
        count.check("PID 1's crate by itself", pid_1)?;
        count.check("lints of the workshop", lints(binaries::of_workshop("clippy")))
    })?;
    report.dependencies()?;
    let Report { count, phases, .. } = report;
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

fn with_machines(options: &Options, report: &mut Report) -> Result<()> {
    // Before the images are locked: a process that waits here must not hold them.
    let _turn = stories::begin()?;
    let stories = report.phases.time("building the stories", || Stories::build(&options.story))?;
    let release = release_folder(options, &stories)?;
    let mut images = match options.no_image {
        true => Images::find(report)?,
        false => Images::prepare(options, &stories, stories.need_qemu() || options.all, report)?,
    };
    let has_uml = report.without_uml.is_none();
    let run = stories::Options {
        in_qemu: !has_uml,
        keep: options.keep,
        is_usual: !options.all && options.story.is_empty(),
        times: options.times,
        slots: SLOTS,
        release: release.as_deref(),
    };
    report.run_stories("stories", &stories, &run)?;
    let late = stories.that_ran_in(Kind::Qemu, &report.outcomes);
    if !images.for_qemu && !late.is_empty() {
        // What they booted in QEMU may be an old image. It is replaced, so it must be released
        // first.
        drop(images);
        images = Images::prepare(options, &late, true, report)?;
        report.outcomes.retain(|outcome| !late.has(outcome));
        report.run_stories("stories that need QEMU now", &late, &run)?;
    }
    if options.all && has_uml {
        let rest = stories.that_ran_in(Kind::Uml, &report.outcomes);
        report.run_stories(
            "the same in QEMU",
            &rest,
            &stories::Options { in_qemu: true, ..run },
        )?;
    }
    drop(images);
    Ok(())
}

/// The release whose disks are booted. Stories run in other folders, so its path is absolute.
fn release_folder(options: &Options, stories: &Stories) -> Result<Option<PathBuf>> {
    let Some(folder) = &options.release_folder else { return Ok(None) };
    let shown = folder.display();
    ensure!(
        folder.join(SUMS).is_file(),
        "--release-folder {shown}: it has no {SUMS}: name a folder that `cargo xtask release` wrote"
    );
    ensure!(
        TAKE_RELEASES.iter().any(|module| stories.have(module)),
        "--release-folder {shown}: none of these stories boots a disk of a release; add --story \
         platforms or --story disk_images"
    );
    let absolute = std::path::absolute(folder);
    absolute.map(Some).with_context(|| format!("finding {shown}"))
}

/// The images that stories boot.
struct Images {
    _in_use: InUse,
    /// Is there an image for QEMU, or will none be built? Building it takes longer, and not every
    /// run needs it.
    for_qemu: bool,
}

impl Images {
    /// The results of an earlier run. Only their completeness is checked.
    fn find(report: &mut Report) -> Result<Images> {
        let building = Building::begin()?;
        let image = vmtest::Image::find()?;
        let (has_uml, has_qemu) =
            (image.uml.is_some() && uml_image::is_complete(), image::is_complete());
        ensure!(
            tools::are_there() && (has_uml || has_qemu),
            "there is no complete image with its tools: run the story once without --no-image"
        );
        report.without_uml = (!has_uml).then(|| "its image is not there (--no-image)".to_owned());
        Ok(Images { _in_use: building.done()?, for_qemu: true })
    }

    fn prepare(
        options: &Options,
        stories: &Stories,
        for_qemu: bool,
        report: &mut Report,
    ) -> Result<Images> {
        // Packages of firmware need a mirror that has them, as archives of engines do.
        let is_named = options.all || !options.story.is_empty();
        let wanted = image::Options {
            release: options.release_image,
            full: (stories.have("drivers::") || stories.have("kernel::")) && is_named,
            ..image::Options::default()
        };
        let ingredients = report.phases.time("packages and programs", || image::gather(&wanted))?;
        report.without_uml = without_uml(&ingredients, report);
        let for_qemu = for_qemu || report.without_uml.is_some();
        if for_qemu {
            report.phases.time("image", || image::write(&ingredients, &wanted))?;
            report.phases.time("releases", || variants::prepare(&ingredients))?;
        }
        report.phases.time("tools", tools::prepare)?;
        // Archives are slow to build, and need a mirror. Without one its story is skipped.
        if stories.have("engines::") && is_named {
            let made = report.phases.time("engines", engines::prepare);
            report.count.record("archives of engines", made);
        }
        if stories.have("kernel::") && is_named {
            let made = report.phases.time("headers and a compiler", || {
                kernel_headers::prepare(&ingredients.packages)?;
                stock_images::prepare_compiler()
            });
            report.count.record("headers of the kernel, and a compiler", made);
        }
        if options.story.is_empty() && for_qemu && report.without_uml.is_none() {
            let Report { count, phases, .. } = report;
            phases.time("both images hold one system", || {
                count.record("both images hold one system", uml_image::check(&ingredients));
                Ok(())
            })?;
        }
        Ok(Images { _in_use: ingredients.building.done()?, for_qemu })
    }
}

/// Makes what User-Mode Linux machines boot; returns why there is nothing. A machine that cannot
/// fetch the kernel's source or compiler is not a failure. A patch that does not apply is one. The
/// stories run in QEMU in both cases.
fn without_uml(ingredients: &Ingredients, report: &mut Report) -> Option<String> {
    let Report { count, phases, .. } = report;
    let made = phases.time("test kernel", test_kernel::prepare).and_then(|found| match found {
        Availability::Kernel(kernel) => phases
            .time("image for User-Mode Linux", || uml_image::prepare(ingredients, &kernel))
            .map(|()| None),
        Availability::Unavailable(why) => Ok(Some(format!("{why:#}"))),
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
