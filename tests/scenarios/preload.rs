//! Preloaded images are in their engines at the next start.

use anyhow::Result;
use vmtest::{Options, drive, folder};

/// Needs no network: its image is preloaded.
const SERVICE: &str = r#"rancher:
  services:
    ready:
      image: laid:1
      command: /bin/busybox sleep 1000
      net: none
      restart: always
      labels: {io.rancher.os.scope: system}
"#;

#[test]
fn preloaded_images_are_in_their_engines() -> Result<()> {
    let folder = folder("preload")?;
    let disk = folder.join("state.img");
    drive::blank(&disk, 2048)?;
    let append = super::STATE.to_owned();
    let options = Options { append, disks: vec![disk], ..Options::default() };
    let mut machine = super::with_config(&folder, "", options)?;
    machine.expect_login()?;
    machine.expect_docker()?;
    machine.run(&format!(
        "set -e; mkdir -p /tmp/r/bin && cp /usr/bin/busybox /tmp/r/bin/
         tar -C /tmp/r -cf /tmp/r.tar .
         docker import /tmp/r.tar laid:1 && docker save -o /tmp/laid.tar laid:1 && docker rmi laid:1
         cd /var/lib/rancher && sudo mkdir -p preload/docker preload/system-docker
         sudo cp /tmp/laid.tar preload/docker/
         gzip -c /tmp/laid.tar | sudo tee preload/system-docker/laid.tar.gz > /dev/null
         echo junk | sudo tee preload/docker/bad.tar > /dev/null
         sudo tee conf/cloud-config.d/ready.yml > /dev/null <<'END'\n#cloud-config\n{SERVICE}END"
    ))?;
    machine.restart()?;
    machine.expect(
        "sudo system-docker ps --format '{{.Names}} {{.Image}}' | grep -qx 'ready laid:1'",
    )?;
    machine.expect("docker image inspect laid:1 > /dev/null")?;
    machine.expect_console("preload: /var/lib/rancher/preload/docker/bad.tar: ")?;
    let found = machine.run("cd /var/lib/rancher/preload && ls docker system-docker")?;
    let stamped = "docker:\nbad.tar\nlaid.tar\nlaid.tar.done\n\n\
                   system-docker:\nlaid.tar.gz\nlaid.tar.gz.done";
    assert_eq!(found, stamped);
    machine.check_alarms()
}
