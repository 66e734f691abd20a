//! Images: registries as Debian has them, archives, damage.

use super::{program, sandbox};
use anyhow::{Context, Result};
use std::fs;
use vmtest::sandbox::Sandbox;
use vmtest::servers;

#[test]
fn images_are_pushed_to_a_registry_and_pulled_again() -> Result<()> {
    let mut engine = sandbox("registry")?;
    registry(&mut engine, 5000, "")?;
    let pushed = engine.run(
        "docker tag busybox localhost:5000/team/bb:1 && docker push localhost:5000/team/bb:1",
    )?;
    assert!(pushed.contains("1: digest: sha256:"), "{pushed}");
    engine.run("docker rmi localhost:5000/team/bb:1 busybox")?;
    assert_eq!(engine.docker("images -q")?, "");
    let pulled = engine.docker("pull localhost:5000/team/bb:1")?;
    assert!(
        pulled.contains("Pull complete") && pulled.contains("Downloaded newer image"),
        "{pulled}"
    );
    assert!(engine.docker("pull localhost:5000/team/bb:1")?.contains("Image is up to date"));
    assert_eq!(engine.docker("run --rm localhost:5000/team/bb:1 echo pulled")?, "pulled");
    let digest = engine.docker("images --digests --format '{{.Digest}}' localhost:5000/team/bb")?;
    engine.docker(&format!("pull localhost:5000/team/bb@{digest}"))?;
    let script = "import docker; api = docker.from_env().api; \
        print(api.inspect_distribution('localhost:5000/team/bb:1'))";
    let shown = engine.run(&format!("docker-py -c \"{script}\""))?;
    assert!(shown.contains(&digest) && shown.contains("amd64"), "{shown}");
    let missing = engine.run("docker pull localhost:5000/team/none 2>&1 || true")?;
    assert!(missing.contains("No such image"), "{missing}");
    damage_is_found_and_repaired(&mut engine)
}

/// A blob and a file of a layer are changed without the engine.
fn damage_is_found_and_repaired(engine: &mut Sandbox) -> Result<()> {
    assert_eq!(engine.ros("engine fsck")?, "all images are intact");
    let layers = engine.store().join("image/layers");
    let layer = fs::read_dir(&layers)?.next().context("a layer")??.path();
    fs::write(layer.join("etc/passwd"), "eve::0:0::/:/bin/sh\n")?;
    let reported = engine.ros("engine fsck").unwrap_or_else(|error| format!("{error:#}"));
    assert!(
        reported.contains("damaged: localhost:5000/team/bb:1") && reported.contains("etc/passwd"),
        "{reported}"
    );
    assert!(engine.ros("engine fsck --repair")?.contains("everything was repaired"));
    assert!(engine.docker("run --rm localhost:5000/team/bb:1 cat /etc/passwd")?.contains("ann"));
    for blob in fs::read_dir(engine.store().join("image/blobs/sha256"))? {
        fs::write(blob?.path(), "not what it was")?;
    }
    fs::remove_dir_all(layers)?;
    assert!(
        engine.ros("engine fsck --repair")?.contains("everything was repaired"),
        "pulled again"
    );
    assert_eq!(engine.ros("engine fsck")?, "all images are intact");
    assert_eq!(engine.docker("run --rm localhost:5000/team/bb:1 echo again")?, "again");
    engine.restart(program())?;
    assert_eq!(engine.docker("run --rm localhost:5000/team/bb:1 echo kept")?, "kept");
    Ok(())
}

#[test]
fn registries_require_certificates_and_passwords() -> Result<()> {
    let mut engine = sandbox("login")?;
    let folder = engine.folder().display().to_string();
    engine.run(&format!(
        "cd {folder} && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca \
           -keyout ca.key -out ca.pem 2>/dev/null
         openssl req -newkey rsa:2048 -nodes -subj /CN=registry.test \
           -keyout key.pem -out cert.csr 2>/dev/null
         printf 'subjectAltName=DNS:registry.test\nbasicConstraints=CA:FALSE\n' > extensions
         openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
           -extfile extensions -out cert.pem 2>/dev/null
         htpasswd -Bbn ann secret-word > htpasswd"
    ))?;
    let more = format!(
        "  tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}\n\
         auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    );
    registry(&mut engine, 5443, &more)?;
    engine.inside(
        "mkdir /run/etc && cp -a /etc/. /run/etc/ && mount --bind /run/etc /etc && \
         echo 127.0.0.1 registry.test >> /etc/hosts",
    )?;
    let unknown = engine.run("docker pull registry.test:5443/bb 2>&1 || true")?;
    assert!(unknown.contains("certificate"), "{unknown}");
    engine.inside(&format!(
        "mkdir -p /etc/docker/certs.d/registry.test:5443 && \
         cp {folder}/ca.pem /etc/docker/certs.d/registry.test:5443/ca.crt"
    ))?;
    let refused = engine.run("docker pull registry.test:5443/bb 2>&1 || true")?;
    assert!(refused.to_lowercase().contains("login"), "{refused}");
    let wrong = engine
        .run("echo wrong | docker login -u ann --password-stdin registry.test:5443 2>&1 || true")?;
    assert!(!wrong.contains("Succeeded"), "{wrong}");
    let right = engine
        .run("echo secret-word | docker login -u ann --password-stdin registry.test:5443 2>&1")?;
    assert!(right.contains("Login Succeeded"), "{right}");
    engine.run(
        "docker tag busybox registry.test:5443/bb && docker push registry.test:5443/bb && \
         docker rmi registry.test:5443/bb && docker pull registry.test:5443/bb",
    )?;
    let log = engine.inside("cat /var/log/system-docker.log 2>/dev/null || true")?;
    assert!(!log.contains("secret-word"), "a password is in no log");
    Ok(())
}

#[test]
fn archives_are_loaded_saved_and_not_trusted() -> Result<()> {
    let engine = sandbox("archives")?;
    let folder = engine.folder().display().to_string();
    engine.run(&format!(
        "docker tag busybox other:2 && docker save busybox other:2 -o {folder}/saved.tar && \
         docker rmi busybox other:2"
    ))?;
    let loaded = engine.docker(&format!("load -i {folder}/saved.tar"))?;
    assert!(
        loaded.contains("Loaded image: busybox:latest") && loaded.contains("Loaded image: other:2"),
        "{loaded}"
    );
    // Layers in every packing that is in use.
    for (pack, name) in [("gzip -c", "gz"), ("zstd -qc", "zst"), ("cat", "plain")] {
        engine.run(&format!(
            "{pack} {folder}/busybox.tar > {folder}/{name}.tar && \
             docker import {folder}/{name}.tar packed:{name} && docker run --rm packed:{name} true"
        ))?;
    }
    // The content of one layer is replaced: its digest is not what the configuration says.
    engine.run(&format!(
        "set -e; cd {folder}; rm -rf x; mkdir x; tar -C x -xf saved.tar
         docker rmi busybox other:2 packed:gz packed:zst packed:plain >/dev/null
         layer=$(sed 's/.*\"Layers\":\\[\"\\([^\"]*\\)\".*/\\1/' x/manifest.json)
         echo evil > evil; tar -cf x/$layer evil; tar -C x -cf evil.tar ."
    ))?;
    let refused = engine.run(&format!("docker load -i {folder}/evil.tar 2>&1 || true"))?;
    assert!(refused.contains("damaged") && engine.docker("images -q")?.is_empty(), "{refused}");
    engine.run(&format!(
        "echo no tar at all | docker load 2>&1 || true; docker load -i {folder}/saved.tar"
    ))?;
    assert_eq!(engine.docker("run --rm busybox echo sound")?, "sound");
    assert!(engine.ros("gc")?.contains("reclaimed"));
    Ok(())
}

#[test]
fn a_download_that_is_cut_off_is_resumed() -> Result<()> {
    let mut engine = sandbox("resume")?;
    registry(&mut engine, 5000, "")?;
    let folder = engine.folder().display().to_string();
    engine.run(&format!(
        "head -c 8000000 /dev/urandom > {folder}/big && \
         tar -C {folder} -c big | docker import - localhost:5000/team/big:1 && \
         docker push localhost:5000/team/big:1 && docker rmi localhost:5000/team/big:1"
    ))?;
    let script = format!("{folder}/cutter.py");
    fs::write(&script, servers::CUTTER)?;
    let note = format!("{folder}/passed");
    engine.serve("python3", &[&script, "5001", "5000", "2500000", &note], 5001)?;
    engine.docker("pull localhost:5001/team/big:1")?;
    let passed: u64 = fs::read_to_string(&note)?.parse()?;
    assert!(passed > 8_000_000 && passed < 10_000_000, "{passed} bytes came for 8 MB");
    engine.ros("engine fsck").map(drop)
}

#[test]
fn a_mirror_is_tried_first_and_skipped_when_it_is_down() -> Result<()> {
    let mut engine = sandbox("mirror")?;
    registry(&mut engine, 5000, "")?;
    engine.run(
        "docker tag busybox localhost:5000/library/mirrored:1 && \
         docker push localhost:5000/library/mirrored:1 && \
         docker rmi localhost:5000/library/mirrored:1",
    )?;
    let config = |mirror: &str| {
        format!(
            "echo '{{\"config\": {{\"rancher\": {{\"system_docker\": \
             {{\"registry_mirror\": \"{mirror}\"}}}}}}, \"problems\": []}}' > \
             /run/corral/config.json"
        )
    };
    engine.inside(&config("http://localhost:5000"))?;
    // The name is Docker Hub's, which this test cannot reach.
    engine.docker("pull mirrored:1")?;
    assert_eq!(engine.docker("run --rm mirrored:1 echo by the mirror")?, "by the mirror");
    engine.inside(&config("http://localhost:5999"))?;
    let refused = engine.run("docker pull other:1 2>&1 || true")?;
    assert!(refused.contains("docker.io") || refused.contains("registry"), "{refused}");
    assert_eq!(
        engine.docker("pull -q localhost:5000/library/mirrored:1")?,
        "localhost:5000/library/mirrored:1"
    );
    Ok(())
}

/// Debian's docker-registry in the engine's network.
fn registry(engine: &mut Sandbox, port: u16, more: &str) -> Result<()> {
    let folder = engine.folder().display().to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\n\
         storage: {{filesystem: {{rootdirectory: {folder}/registry-{port}}}, \
         delete: {{enabled: true}}}}\n\
         http:\n  addr: 127.0.0.1:{port}\n{more}"
    );
    let file = format!("{folder}/registry-{port}.yml");
    fs::write(&file, config)?;
    engine.serve("docker-registry", &["serve", &file], port)
}
