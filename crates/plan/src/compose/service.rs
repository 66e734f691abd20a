//! One service of a compose file: key by key into [`Service`].

use super::error::ComposeError;
use super::reader::Reader;
use crate::labels;
use crate::service::{Condition, Dependency, EnvFile, Network, Pull, Service, Sharing};
use corral_config::Position;
use corral_config::names::ServiceName;
use corral_config::schema::nearest;
use corral_config::yaml::{Kind, Node};

/// Keys of compose that mean nothing to this engine, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("annotations", "the engine keeps labels only"),
    ("attach", "there is no `compose up` on this machine"),
    ("blkio_config", "limits of disk I/O are not supported"),
    ("build", "images are not built on this machine: `image` is what runs"),
    ("cgroup", "every container has a cgroup of its own"),
    ("cgroup_parent", "every container has a cgroup below /system"),
    ("container_name", "a container of the system is named as its service"),
    ("cpu_count", "that is a key for Windows"),
    ("cpu_percent", "that is a key for Windows"),
    ("cpu_rt_period", "the kernel has no real-time groups"),
    ("cpu_rt_runtime", "the kernel has no real-time groups"),
    ("credential_spec", "that is a key for Windows"),
    ("develop", "that is for a developer's machine"),
    ("dockerfile", "images are not built on this machine: `image` is what runs"),
    ("gpus", "give the device nodes in `devices`"),
    ("isolation", "that is a key for Windows"),
    ("label_file", "labels are read from the file itself only"),
    ("mem_swappiness", "cgroup v2 has no such limit"),
    ("models", "there are no models on this machine"),
    ("oom_kill_disable", "cgroup v2 has no such switch"),
    ("platform", "the machine has one platform"),
    ("post_start", "a service of its own with `depends_on` does that"),
    ("pre_stop", "a container is stopped by its stop signal only"),
    ("provider", "there are no providers on this machine"),
    ("runtime", "there is one runtime"),
    ("scale", "each service has one container"),
    ("storage_opt", "the state disk is not divided"),
    ("use_api_socket", "mount /run/system-docker.sock as a volume"),
    ("userns_mode", "containers of the system have no user namespaces"),
    ("volume_driver", "only plain local volumes are supported"),
];

/// Keys that are fine and need nothing to be done: all ports are open within a bridge.
const UNDERSTOOD: [&str; 3] = ["name", "expose", "extends"];

/// Reads one service, in which variables were put in.
pub(super) fn parse(
    reader: &mut Reader<'_>,
    name: ServiceName,
    node: &Node,
) -> Result<Service, ComposeError> {
    let mut service = Service::new(name, String::new());
    for (key, value) in reader.mapping(node)? {
        let known = reader.process(&mut service, key, value)?
            || reader.rights(&mut service, key, value)?
            || reader.surroundings(&mut service, key, value)?
            || reader.order(&mut service, key, value)?
            || reader.limits(&mut service, key, value)?
            || UNDERSTOOD.contains(&key.as_str())
            || key.starts_with("x-");
        if !known {
            let why = WITHOUT_EFFECT.iter().find(|(other, _)| other == key).map_or_else(
                || "unknown key".to_owned(),
                |(_, why)| format!("has no effect for a service of the system: {why}"),
            );
            reader.warn(value.key_at, format!("{}: {key}: {why}", service.name));
        }
    }
    if service.image.is_empty() {
        return Err(reader.error(node.at, format!("{}: image is missing", service.name)));
    }
    reader.connect(&mut service, node)?;
    if let Some(written) = node.get("labels") {
        reader.warn_of_labels(&service, written.key_at);
    }
    service.labels = labels::parse(&service.label_map);
    Ok(service)
}

impl Reader<'_> {
    /// What runs in the container.
    fn process(&mut self, to: &mut Service, key: &str, value: &Node) -> Result<bool, ComposeError> {
        match key {
            "image" => to.image = self.string(value)?,
            "pull_policy" => to.pull = self.pull(value)?,
            "entrypoint" => to.entrypoint = self.command(value)?,
            "command" => to.command = self.command(value)?,
            "environment" => to.environment = self.assignments(value)?,
            "env_file" => to.env_files = self.env_files(value)?,
            "working_dir" => to.working_dir = self.string(value)?,
            "user" => to.user = self.string(value)?,
            "group_add" => to.group_add = self.strings(value)?,
            "tty" => to.tty = self.boolean(value)?,
            "stdin_open" => to.stdin_open = self.boolean(value)?,
            "init" => to.init = self.boolean(value)?,
            "labels" => to.label_map = self.map(value)?,
            "healthcheck" => to.health = self.health(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it may do.
    fn rights(&mut self, to: &mut Service, key: &str, value: &Node) -> Result<bool, ComposeError> {
        match key {
            "privileged" => to.privileged = self.boolean(value)?,
            "read_only" => to.read_only = self.boolean(value)?,
            "cap_add" => to.cap_add = self.strings(value)?,
            "cap_drop" => to.cap_drop = self.strings(value)?,
            "security_opt" => to.security_opt = self.security_options(value)?,
            "devices" => to.devices = self.devices(value)?,
            "device_cgroup_rules" => to.device_rules = self.strings(value)?,
            "sysctls" => to.sysctls = self.map(value)?,
            "pid" => to.pid = self.sharing(value)?,
            "ipc" => to.ipc = self.sharing(value)?,
            "uts" => to.uts = self.sharing(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it sees.
    fn surroundings(
        &mut self,
        to: &mut Service,
        key: &str,
        value: &Node,
    ) -> Result<bool, ComposeError> {
        match key {
            "hostname" => to.hostname = self.string(value)?,
            "domainname" => to.domainname = self.string(value)?,
            "ports" => to.ports = self.ports(value)?,
            "dns" => to.dns = self.strings(value)?,
            "dns_search" => to.dns_search = self.strings(value)?,
            "dns_opt" => to.dns_options = self.strings(value)?,
            "extra_hosts" => {
                to.extra_hosts =
                    self.pairs(value, ":")?.iter().map(|pair| pair.replacen('=', ":", 1)).collect();
            }
            "mac_address" => to.mac_address = self.string(value)?,
            // These make the network together: see `connect`.
            "net" | "network_mode" | "networks" => {}
            "volumes" => to.volumes.extend(self.volumes(to.name.as_str(), value, &mut to.tmpfs)?),
            "secrets" | "configs" => to.volumes.extend(self.files(key, value)?),
            "tmpfs" => to.tmpfs.extend(self.strings(value)?),
            "shm_size" => to.shm_size = self.bytes(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What it has to do with others.
    fn order(&mut self, to: &mut Service, key: &str, value: &Node) -> Result<bool, ComposeError> {
        match key {
            "depends_on" => to.depends_on.extend(self.dependencies(value)?),
            "links" => {
                to.links.extend(self.links(value)?);
                for (name, _) in self.references(value)? {
                    to.depends_on.entry(name).or_insert(STARTED);
                }
            }
            "external_links" => to.links.extend(self.links(value)?),
            "volumes_from" => {
                to.volumes_from = self.references(value)?;
                for (name, _) in &to.volumes_from {
                    to.depends_on.entry(name.clone()).or_insert(STARTED);
                }
            }
            "profiles" => to.profiles = self.strings(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The network, out of three keys; and what follows from sharing the namespaces of others.
    fn connect(&mut self, to: &mut Service, node: &Node) -> Result<(), ComposeError> {
        to.network = self.network_of(node)?;
        for shared in [&to.pid, &to.ipc] {
            if let Sharing::Service(name) = shared {
                to.depends_on.entry(name.clone()).or_insert(STARTED);
            }
        }
        match &to.network {
            Network::Service(name) => {
                to.depends_on.entry(name.clone()).or_insert(STARTED);
            }
            Network::Bridges(_) => return Ok(()),
            Network::Host | Network::None => {}
        }
        if let (false, Some(ports)) = (to.ports.is_empty(), node.get("ports")) {
            self.warn(
                ports.key_at,
                format!("{}: ports: not published: the service is not on a bridge", to.name),
            );
            to.ports.clear();
        }
        Ok(())
    }

    /// A label that begins like those of RancherOS or Corral and is none was probably meant as one.
    fn warn_of_labels(&mut self, service: &Service, at: Position) {
        let all = service.label_map.keys();
        for label in all.filter(|label| !labels::KNOWN.contains(&label.as_str())) {
            let prefix = labels::PREFIXES.into_iter().find(|prefix| label.starts_with(*prefix));
            let Some(prefix) = prefix else { continue };
            let names = labels::KNOWN.into_iter().filter_map(|known| known.strip_prefix(prefix));
            let near = nearest(&label[prefix.len()..], names).map(|near| format!("{prefix}{near}"));
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.warn(
                at,
                format!("{}: labels: {label}: unknown label, without effect{near}", service.name),
            );
        }
    }

    fn security_options(&mut self, node: &Node) -> Result<Vec<String>, ComposeError> {
        let options = self.strings(node)?;
        for option in &options {
            let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            match (key, value) {
                ("no-new-privileges", "" | "true" | "false") => {}
                ("seccomp" | "systempaths", "unconfined") => {}
                // There is no AppArmor and no SELinux in this system that it could be about.
                ("apparmor" | "label", _) => {}
                _ => self.warn(
                    node.at,
                    format!("security_opt: {option}: has no effect for a service of the system"),
                ),
            }
        }
        Ok(options)
    }

    fn pull(&self, node: &Node) -> Result<Pull, ComposeError> {
        match self.string(node)?.as_str() {
            "" | "missing" | "if_not_present" => Ok(Pull::Missing),
            "never" => Ok(Pull::Never),
            other
                if other == "always"
                    || ["daily", "weekly", "every_"].iter().any(|p| other.starts_with(p)) =>
            {
                Ok(Pull::Always)
            }
            other => {
                Err(self.error(node.at, format!("{other:?} is not one of always, missing, never")))
            }
        }
    }

    fn env_files(&self, node: &Node) -> Result<Vec<EnvFile>, ComposeError> {
        let file = |item: &Node| {
            let path = self.string(item.get("path").unwrap_or(item))?;
            let required =
                item.get("required").map_or(Ok(true), |required| self.boolean(required))?;
            if path.starts_with('/') {
                Ok(EnvFile { path, required })
            } else {
                Err(self.error(item.at, format!("{path:?}: expected an absolute path")))
            }
        };
        self.items(node)?.iter().map(file).collect()
    }

    fn devices(&self, node: &Node) -> Result<Vec<String>, ComposeError> {
        let device = |item: &Node| match &item.kind {
            Kind::Mapping(_) => {
                let get =
                    |key: &str| item.get(key).map_or(Ok(String::new()), |value| self.string(value));
                let (source, target, access) =
                    (get("source")?, get("target")?, get("permissions")?);
                if source.is_empty() {
                    return Err(self.error(item.at, "a device: source is missing"));
                }
                let target = if target.is_empty() { source.clone() } else { target };
                Ok(format!("{source}:{target}:{}", if access.is_empty() { "rwm" } else { &access }))
            }
            _ => self.string(item),
        };
        self.items(node)?.iter().map(device).collect()
    }

    fn sharing(&self, node: &Node) -> Result<Sharing, ComposeError> {
        let text = self.string(node)?;
        match text.as_str() {
            "host" => Ok(Sharing::Host),
            "" | "private" | "shareable" => Ok(Sharing::Private),
            other => match other.split_once(':') {
                Some(("service" | "container", name)) if !name.is_empty() => {
                    Ok(Sharing::Service(name.to_owned()))
                }
                _ => Err(self.error(
                    node.at,
                    format!("{other:?} is not one of host, private, service:NAME"),
                )),
            },
        }
    }

    fn dependencies(&self, node: &Node) -> Result<Vec<(String, Dependency)>, ComposeError> {
        let Kind::Mapping(items) = &node.kind else {
            return Ok(self.strings(node)?.into_iter().map(|name| (name, STARTED)).collect());
        };
        let dependency = |(name, value): &(String, Node)| {
            let required =
                value.get("required").map_or(Ok(true), |required| self.boolean(required))?;
            let condition = match value.get("condition") {
                None => Condition::ServiceStarted,
                Some(condition) => self.condition(condition)?,
            };
            Ok((name.clone(), Dependency { condition, required }))
        };
        items.iter().map(dependency).collect()
    }

    fn condition(&self, node: &Node) -> Result<Condition, ComposeError> {
        match self.string(node)?.as_str() {
            "service_started" => Ok(Condition::ServiceStarted),
            "service_healthy" => Ok(Condition::ServiceHealthy),
            "service_completed_successfully" => Ok(Condition::ServiceCompletedSuccessfully),
            other => Err(self.error(
                node.at,
                format!(
                    "{other:?} is not one of service_started, service_healthy, \
                     service_completed_successfully"
                ),
            )),
        }
    }

    /// `volumes_from` and `links`: `[container:|service:]NAME[:MORE]` → the name, and whether
    /// `MORE` is `ro`.
    fn references(&self, node: &Node) -> Result<Vec<(String, bool)>, ComposeError> {
        let reference = |text: &String| {
            let text =
                text.strip_prefix("container:").or(text.strip_prefix("service:")).unwrap_or(text);
            let (name, more) = text.split_once(':').unwrap_or((text, ""));
            (name.to_owned(), more == "ro")
        };
        Ok(self.strings(node)?.iter().map(reference).collect())
    }
}

const STARTED: Dependency = Dependency { condition: Condition::ServiceStarted, required: true };
