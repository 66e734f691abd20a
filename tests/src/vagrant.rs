//! The cloud-config of Vagrant's boxes. `cargo xtask release` writes it with the keys of Vagrant,
//! and a story boots it with keys of its own.
//!
//! Vagrant logs in as `vagrant` with keys that are public, and replaces them by a new one at the
//! first `up`. So they are not in the configuration, which would restore them at each boot: a
//! command writes them once in the life of a machine, also if all keys are removed later.

/// Who logs in.
pub const USER: &str = "vagrant";
/// It stays on the state disk once the keys are written.
pub const MARK: &str = "/var/lib/rancher/vagrant-keys";

/// The cloud-config of a machine with these public keys.
pub fn document(keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("      {key}\n")).collect();
    format!(
        "#cloud-config
hostname: corral
users:
  - name: {USER}
    groups: [docker]
    sudo: ALL=(ALL) NOPASSWD:ALL
runcmd:
  - |
      home=/home/{USER}/.ssh
      [ -e {MARK} ] && exit 0
      if [ ! -s $home/authorized_keys ]; then
      install -d -m 700 -o {USER} -g {USER} $home
      cat > $home/authorized_keys <<'KEYS'
{keys}      KEYS
      chmod 600 $home/authorized_keys
      chown {USER}:{USER} $home/authorized_keys
      fi
      sync
      touch {MARK}
      sync
"
    )
}
