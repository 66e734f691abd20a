//! The containers of earlier boots, which clients made: PID 1 gets them again, and some are
//! started.

use crate::blocking::blocking;
use crate::network::record as networks;
use crate::record::{Record, Records};
use crate::shared::Shared;
use corral_engine::image::layout;
use corral_engine::paths;
use corral_engine::protocol::Request;
use corral_engine::spec::RestartPolicy;
use std::fs;
use std::sync::Arc;

/// Reports the containers of earlier boots to PID 1, and starts those that are to run.
pub(super) async fn restore(shared: Arc<Shared>) {
    let reading = Arc::clone(&shared);
    let found = blocking(move || Ok(load_all_and_note(&reading.records))).await.unwrap_or_default();
    for (id, record) in found {
        if shared.table.get(&id).is_some() {
            continue;
        }
        let past = Some(record.past.clone());
        let create = Request::Create { id: id.clone(), spec: Box::new(record.spec.clone()), past };
        if let Err(error) = shared.call(create).await {
            eprintln!("restoring container {id}: {error}");
            continue;
        }
        let comes_back = match record.spec.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !record.ended_by_hand,
            RestartPolicy::OnFailure(_) => record.past.exit_code != 0 && !record.ended_by_hand,
        };
        if comes_back && record.past.started.is_some() {
            let starting = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Err(error) = starting.call(Request::Start { container: id.clone() }).await {
                    eprintln!("restarting container {id}: {error}");
                }
            });
        }
    }
}

/// What cannot be read is left as it is, and noted for `ros why`.
fn load_all_and_note(records: &Records) -> Vec<(String, Record)> {
    let (found, mut damaged) = load_all(records);
    damaged.extend(networks::damaged());
    damaged.extend(
        layout::split_stored().1.into_iter().map(|file| format!("image {}", file.display())),
    );
    let _ = fs::remove_file(paths::DAMAGED);
    if !damaged.is_empty() {
        let text: String = damaged.iter().map(|line| format!("{line}\n")).collect();
        eprint!("{text}");
        if let Err(error) = fs::write(paths::DAMAGED, text) {
            eprintln!("writing {}: {error}", paths::DAMAGED);
        }
    }
    found
}

/// The containers, and what is wrong with those that cannot be read.
fn load_all(records: &Records) -> (Vec<(String, Record)>, Vec<String>) {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for item in fs::read_dir(paths::container("")).into_iter().flatten().flatten() {
        let id = item.file_name().to_string_lossy().into_owned();
        let file = paths::record(&id);
        match fs::read(&file)
            .map_err(serde_json::Error::io)
            .and_then(|text| serde_json::from_slice::<Record>(&text))
        {
            Ok(record) => found.push((id, record)),
            // Services are made again at each boot, and have no record.
            Err(_) if !file.exists() => {}
            Err(error) => damaged.push(format!("container {}: {error}", file.display())),
        }
    }
    records.extend(&found);
    (found, damaged)
}
