//! docker compose of Debian trixie.

use super::sandbox;
use anyhow::Result;
use std::fs;

const PROJECT: &str = r#"
name: shop
services:
  db:
    image: busybox
    command: sh -c "sleep 1; touch /tmp/ready; exec sleep 1000"
    healthcheck: {test: ["CMD", "test", "-e", "/tmp/ready"], interval: 300ms, retries: 30}
    volumes: [data:/data]
  api:
    image: busybox
    command: httpd -f -h /etc
    depends_on: {db: {condition: service_healthy}}
    networks: {default: {aliases: [backend]}}
  web:
    image: busybox
    command: sh -c "wget -qO- http://backend/group; nslookup db >/dev/null && echo found db;
      exec sleep 1000"
    depends_on: [api]
    environment: {A: b}
volumes: {data: {}}
"#;

#[test]
fn a_project_of_three_services_comes_up_in_its_order() -> Result<()> {
    let engine = sandbox("compose")?;
    let file = engine.folder().join("compose.yml");
    fs::write(&file, PROJECT)?;
    let compose = format!("docker-compose -f {}", file.display());
    engine.run(&format!("{compose} up -d 2>&1"))?;
    let shown = engine.run(&format!(
        "{compose} ps --format '{{{{.Service}}}} {{{{.State}}}} {{{{.Health}}}}' | sort"
    ))?;
    assert_eq!(shown, "api running \ndb running healthy\nweb running");
    engine.expect_docker("logs shop-web-1", "found db")?;
    assert!(engine.run(&format!("{compose} logs web"))?.contains("ann:x:1000"));
    assert_eq!(
        engine.run(&format!("{compose} exec -T web sh -c 'echo $A; ls /data 2>&1 | wc -l'"))?,
        "b\n1"
    );
    // Only what changed is recreated.
    let before = engine.docker("inspect -f '{{.Id}}' shop-db-1")?;
    fs::write(&file, PROJECT.replace("A: b", "A: c"))?;
    engine.run(&format!("{compose} up -d 2>&1"))?;
    assert_eq!(engine.docker("inspect -f '{{.Id}}' shop-db-1")?, before);
    assert_eq!(engine.run(&format!("{compose} exec -T web sh -c 'echo $A'"))?, "c");
    engine.run(&format!(
        "{compose} restart -t 1 api 2>&1 && {compose} stop -t 1 2>&1 && {compose} start 2>&1"
    ))?;
    engine.run(&format!("{compose} down -t 1 -v 2>&1"))?;
    assert_eq!(
        engine.docker("ps -aq; docker volume ls -q; docker network ls -q --filter type=custom")?,
        ""
    );
    Ok(())
}
