//! `ros boot`: what the boot waited for.

use anyhow::{Context, Result};
use clap::Args;
use corral_engine::client::{call, unexpected};
use corral_engine::protocol::{Reply, Request};
use corral_init::trace::{self, Span, seconds};
use corral_machine::files::write_atomic;
use corral_terminal::output::Output;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write everything as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The service whose critical path is shown
    #[arg(long, default_value = "docker", value_name = "SERVICE")]
    to: String,
    #[command(flatten)]
    output: Output,
}

/// Prints the critical path, or writes the trace.
pub(crate) fn run(options: &Options) -> Result<()> {
    let spans: Vec<Span> = match call(Request::Boot)? {
        Reply::Value(value) => {
            serde_json::from_value(value).context("reading PID 1's record of the boot")?
        }
        other => return Err(unexpected(&other).into()),
    };
    if let Some(file) = &options.trace {
        return write_atomic(file, trace::to_perfetto(&spans).to_string().as_bytes(), 0o644);
    }
    options.output.print(&spans, |spans| print(spans, &options.to))
}

fn print(spans: &[Span], service: &str) {
    println!("critical path to {service} (seconds since the kernel started):");
    println!("{:>9} {:>9} {:>9}  {:<8} what", "start", "end", "took", "kind");
    for span in trace::critical_path(spans, service) {
        print_span(span);
    }
    println!("\nall steps:");
    spans.iter().for_each(print_span);
}

fn print_span(span: &Span) {
    if span.end == 0 {
        println!(
            "{:>9.3} {:>9} {:>9}  {:<8} {}",
            seconds(span.start),
            "-",
            "-",
            span.kind,
            span.name
        );
    } else {
        let took = seconds(span.end.saturating_sub(span.start));
        println!(
            "{:>9.3} {:>9.3} {took:>9.3}  {:<8} {}",
            seconds(span.start),
            seconds(span.end),
            span.kind,
            span.name
        );
    }
}
