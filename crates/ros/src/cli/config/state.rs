//! `ros config status`: where the configuration comes from, what was set aside, what waits to be
//! confirmed, and its problems.

use crate::status::time_left;
use anyhow::Result;
use corral_config::error::{Problem, Severity};
use corral_resolve::cloud_init::CloudInitMark;
use corral_resolve::confirm::Pending;
use corral_resolve::root::Root;
use corral_resolve::{self, layers};
use corral_terminal::output::Output;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct State {
    /// Later ones win.
    layers: Vec<Layer>,
    /// The data source on this machine that was used, and the one on the network.
    local_source: Option<String>,
    network_source: Option<String>,
    pending: Option<Pending>,
    set_aside: Option<String>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Layer {
    source: String,
    errors: usize,
}

/// `ros config status`.
pub(super) fn show(output: Output) -> Result<()> {
    output.print(&load(), print)
}

fn load() -> State {
    let root = Root::machine();
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    let layer = |layer: corral_config::Layer| Layer {
        errors: layer.problems.iter().filter(is_error).count(),
        source: layer.source.to_string(),
    };
    let mark = CloudInitMark::load(&root);
    State {
        layers: layers::load(&root).layers.into_iter().map(layer).collect(),
        local_source: mark.local,
        network_source: mark.network,
        pending: Pending::load(&root),
        set_aside: layers::load_rejected(&root).map(|layer| layer.source.to_string()),
        problems: corral_resolve::problems(),
    }
}

fn print(state: &State) {
    println!("layers, later ones win:");
    for Layer { source, errors } in &state.layers {
        let note = if *errors > 0 { format!(", {errors} errors") } else { String::new() };
        println!("  {source}{note}");
    }
    let named = |source: &Option<String>| source.clone().unwrap_or_else(|| "nothing".to_owned());
    println!(
        "data sources: {} on this machine, {} on the network",
        named(&state.local_source),
        named(&state.network_source)
    );
    if let Some(pending) = &state.pending {
        println!(
            "a change waits to be confirmed within {} s{}{}: ros config confirm",
            pending.within,
            if pending.restarted { " of this boot" } else { "" },
            time_left(pending.seconds_left(&Root::machine()))
        );
    }
    if let Some(layer) = &state.set_aside {
        println!("set aside: {layer}");
    }
    println!("problems: {}", state.problems.len());
    state.problems.iter().for_each(|problem| println!("  {problem}"));
}
