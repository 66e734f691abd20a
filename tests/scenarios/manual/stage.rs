//! The stage of the stories about the manual: machines whose disks and servers have what its
//! examples refer to.

use super::configs::{FILES, STAND_INS};
use crate::{STATE, with_config};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use vmtest::manual::Block;
use vmtest::servers::{self, Server};
use vmtest::{Machine, Options, drive, shell};

const HEADER: &str = "#cloud-config\n";
/// Images made on the spot under the names of the manual, and files that its examples refer to.
const PREPARE: &str = r#"set -e
mkdir -p r/bin r/www && cp /usr/bin/busybox r/bin/ && echo stand-in > r/www/index.html
for name in sh httpd test true grep; do ln -s busybox r/bin/$name; done
for name in apt-get strace; do echo '#!/bin/sh' > r/bin/$name; chmod 755 r/bin/$name; done
tar -C r -cf image.tar .
for name in nginx alpine tailscale/tailscale tailscale/tailscale:stable example/report; do
  docker import --change 'ENV PATH=/bin' --change 'CMD ["httpd", "-f", "-h", "/www"]' \
    image.tar $name
done
for name in nginx alpine busybox prom/node-exporter registry.example.com/backup debian:12; do
  sudo system-docker import --change 'ENV PATH=/bin' \
    --change 'CMD ["httpd", "-f", "-h", "/www"]' image.tar $name
done
mkdir -p d/usr/local/bin && printf '%s\n' '#!/bin/sh' 'echo other > /run/which-engine' \
  'exec /var/lib/rancher/engine/usr/sbin/dockerd "$@"' > d/usr/local/bin/dockerd
chmod 755 d/usr/local/bin/dockerd && tar -C d -c usr | sudo system-docker import - docker:28-dind
echo NAME=Other > other-release && sudo system-docker create --name base corral/os-console true
sudo system-docker cp other-release base:/etc/other-release
sudo system-docker export base | sudo system-docker import - registry.example.com/debian-console:1
sudo system-docker rm base
sudo mkdir -p /opt/rsyslog /opt/shop/log /opt/vpn /opt/www && sudo touch /opt/rsyslog/mounted
echo line | sudo tee /opt/shop/log/shop.log
echo 'of-the-site: {image: nginx, net: none, labels: [io.rancher.os.scope=system]}' |
  sudo tee /var/lib/rancher/conf/site.yml
sudo mount /dev/vdc /mnt && sudo mkdir /mnt/www && echo page | sudo tee /mnt/www/index.html
sudo umount /mnt && sudo mkswap /dev/vdd && rm -rf r d image.tar
"#;
const OF_REPOSITORY: &str =
    "of-the-repository: {image: nginx, net: none, labels: [io.rancher.os.scope=system]}\n";

/// The servers and disks that the examples need.
pub(super) struct Stage<'a> {
    folder: &'a Path,
    /// Web, NFS.
    _servers: [Server; 2],
    /// The state disk, one with the label `data`, one for swap.
    disks: Vec<PathBuf>,
    /// In this order, also in a text that came into being by one of them.
    stand_ins: Vec<(String, String)>,
}

impl Stage<'_> {
    pub(super) fn make(folder: &Path) -> Result<Stage<'_>> {
        let (content, export) = (folder.join("www"), folder.join("export"));
        fs::create_dir_all(content.join("services/b"))?;
        fs::create_dir_all(&export)?;
        fs::write(export.join("file"), "over nfs\n")?;
        fs::write(content.join("services/b/backup.yml"), OF_REPOSITORY)?;
        let node = "#cloud-config\nrancher: {environment: {FROM_URL: 'yes'}}\n";
        fs::write(content.join("node.yml"), node)?;
        fs::write(content.join("my.yml"), node)?;
        let (web, nfs) = (servers::web(folder, &content)?, servers::nfs(folder, &export)?);
        let disks = ["state.img", "data.img", "swap.img"].map(|name| folder.join(name));
        drive::blank(&disks[0], 2048)?;
        drive::make_ext4(&disks[1], "data", ("here", "yes"))?;
        drive::blank(&disks[2], 64)?;
        let key = shell::make_key(folder)?;
        let words: Vec<&str> = key.split(' ').take(2).collect();
        let mut stand_ins: Vec<(String, String)> =
            STAND_INS.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        for (mark, text) in [
            ("@KEY@", words.join(" ")),
            ("@WEB@", format!("http://10.0.2.2:{}", web.port)),
            ("@NFS@", nfs.port.to_string()),
        ] {
            stand_ins.push((mark.to_owned(), text));
        }
        Ok(Stage { folder, _servers: [web, nfs], disks: disks.to_vec(), stand_ins })
    }

    /// A text with its stand-ins.
    pub(super) fn filled(&self, text: &str) -> String {
        self.stand_ins.iter().fold(text.to_owned(), |text, (name, by)| text.replace(name, by))
    }

    /// A machine with copies of these disks. Its user data has several parts.
    pub(super) fn start(&self, name: &str, nics: u32, parts: &[String]) -> Result<Machine> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let mut disks = Vec::new();
        for disk in &self.disks {
            let copy = folder.join(disk.file_name().context("a disk without a name")?);
            drive::copy(disk, &copy)?;
            disks.push(copy);
        }
        for file in ["key", "key.pub"] {
            fs::copy(self.folder.join(file), folder.join(file))?;
        }
        let data = message(
            &[vec![self.filled("ssh_authorized_keys: ['@KEY@ story']\n")], parts.to_vec()].concat(),
        );
        let config_drive = Some(drive::make(&folder, drive::Kind::NoCloud, data.as_bytes())?);
        let append = STATE.to_owned();
        let options = Options { nics, append, disks, config_drive, ..Options::default() };
        let mut machine = Machine::start(&folder, options)?;
        machine.expect_login()?;
        Ok(machine)
    }

    /// Boots once, makes images and files, and validates each example.
    pub(super) fn prepare(&self, blocks: &[Block]) -> Result<()> {
        let options =
            Options { append: STATE.to_owned(), disks: self.disks.clone(), ..Options::default() };
        let mut machine = with_config(self.folder, "", options)?;
        machine.expect_login()?;
        machine.expect_docker()?;
        machine.run(PREPARE)?;
        for (file, has, path) in FILES {
            let text = self.filled(&find(blocks, file, has)?.text);
            machine.run(&format!("sudo tee {path} <<'END'\n{text}END"))?;
        }
        for block in blocks.iter().filter(|block| is_config(block)) {
            let text = self.filled(&block.text);
            let said = machine
                .run(&format!("cat > e.yml <<'END'\n{text}END\nros config validate -i e.yml"))
                .with_context(|| block.place())?;
            ensure!(said.is_empty(), "{}: {said}", block.place());
        }
        machine.power_off()
    }
}

/// The one YAML block of this file with this text.
pub(super) fn find<'a>(blocks: &'a [Block], file: &str, has: &str) -> Result<&'a Block> {
    let mut found = blocks
        .iter()
        .filter(|block| block.language == "yaml" && block.file == file && block.text.contains(has));
    let block = found.next().with_context(|| format!("{file} has no example with {has:?}"))?;
    ensure!(found.next().is_none(), "{file}: several examples have {has:?}");
    Ok(block)
}

pub(super) fn is_config(block: &Block) -> bool {
    block.language == "yaml" && block.text.starts_with(HEADER)
}

/// User data of several cloud-configs.
fn message(parts: &[String]) -> String {
    const BOUNDARY: &str = "==next==";
    let mut text =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for part in parts {
        let part = part.trim_start_matches(HEADER);
        text.push_str(&format!(
            "--{BOUNDARY}\nContent-Type: text/cloud-config\n\n{HEADER}{part}\n"
        ));
    }
    text.push_str(&format!("--{BOUNDARY}--\n"));
    text
}
