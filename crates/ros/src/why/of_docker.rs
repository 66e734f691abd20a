//! What is wrong with a service or a container of the user's Docker, if that answers.

use anyhow::{Context, Result, bail};
use corral_config::Config;
use corral_docker::{Client, Container, Engine, State};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A message if something is wrong. An error if there is nothing of this name: it is misspelt.
pub(super) fn explain(name: &str, config: &Config) -> Result<Option<String>> {
    let container = container_of(name, config);
    let found = Client::of(Engine::User).and_then(|client| {
        client.ping(TIMEOUT)?;
        client.container(container.as_deref().unwrap_or(name))
    });
    match (found, container) {
        (Ok(Some(Container { state, .. })), _) => Ok(of_state(name, &state)),
        (Ok(None), Some(_)) => Ok(Some(format!(
            "it has no container in the user's Docker; `ros service up {name}` creates it"
        ))),
        (Ok(None), None) => bail!("{}", unknown(name)),
        (Err(error), Some(_)) => Ok(Some(format!("{:#}", anyhow::Error::from(error)))),
        (Err(error), None) => Err(error).with_context(|| unknown(name)),
    }
}

fn unknown(name: &str) -> String {
    format!("there is no service or container {name:?}; `ros service ps` lists the services")
}

/// The container of a service in the configuration.
fn container_of(name: &str, config: &Config) -> Option<String> {
    let definition = config.rancher.services.get(name)?;
    let named = definition.get("container_name").and_then(|value| value.as_str());
    Some(named.unwrap_or(name).to_owned())
}

fn of_state(name: &str, state: &State) -> Option<String> {
    let logs = format!("see: docker logs {name}");
    match state.status.as_str() {
        _ if !state.error.is_empty() => Some(format!("could not be started: {}", state.error)),
        "restarting" => Some(format!("keeps exiting (exit status {}); {logs}", state.exit_code)),
        "exited" | "dead" if state.exit_code != 0 => {
            Some(format!("ended with exit status {}; {logs}", state.exit_code))
        }
        _ if state.health() == Some("unhealthy") => Some(format!("its health check fails; {logs}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_of_docker_is_explained_by_its_state() {
        for (state, expected) in [
            (json!({"Status": "running"}), None),
            (json!({"Status": "exited"}), None),
            (json!({"Status": "created", "Error": "no port"}), Some("could not be started: no")),
            (json!({"Status": "exited", "ExitCode": 3}), Some("ended with exit status 3; see: ")),
            (json!({"Status": "restarting", "ExitCode": 1}), Some("keeps exiting")),
            (
                json!({"Status": "running", "Health": {"Status": "unhealthy"}}),
                Some("its health check fails; see: docker logs web"),
            ),
        ] {
            let message = of_state("web", &serde_json::from_value(state.clone()).unwrap());
            assert_eq!(message.is_some(), expected.is_some(), "{state}");
            assert!(message.unwrap_or_default().starts_with(expected.unwrap_or_default()));
        }
    }

    #[test]
    fn a_misspelt_name_is_an_error() {
        let error = format!("{:#}", explain("corral-no-such", &Config::default()).unwrap_err());
        assert!(error.contains("corral-no-such") && error.contains("ros service ps"), "{error}");
    }

    #[test]
    fn a_service_may_name_its_container() {
        let mut config = Config::default();
        let services = &mut config.rancher.services;
        services.insert("web".to_owned(), json!({"container_name": "site"}));
        services.insert("db".to_owned(), json!({}));
        let container = |name: &str| container_of(name, &config);
        assert_eq!(container("web").as_deref(), Some("site"));
        assert_eq!((container("db").as_deref(), container("we")), (Some("db"), None));
    }
}
