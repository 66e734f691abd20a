//! Registry settings of the effective configuration, for the system engine.

use corral_config::model::RegistryAuth;
use corral_daemon::image::registry::Settings;
use corral_resolve::effective::load_config;

/// Read again for each request: it may have changed.
pub fn load() -> Settings {
    let Ok(config) = load_config() else { return Settings::default() };
    let rancher = config.rancher;
    let engine = rancher.system_docker;
    let account = |(host, auth): (String, RegistryAuth)| Some((host, auth.account()?));
    Settings {
        mirrors: Some(engine.registry_mirror)
            .filter(|mirror| !mirror.is_empty())
            .into_iter()
            .collect(),
        insecure: engine.insecure_registry,
        accounts: rancher.registry_auths.into_iter().filter_map(account).collect(),
    }
}
