//! The kernel's command line and the OEM partition as sources: words after ` -- `, modules by
//! kernel parameter, the state in a subdirectory.

use anyhow::Result;
use vmtest::folder;
use vmtest::{Machine, Options, drive};

const SERVICE: &str = r#"rancher:
  services:
    test:
      image: corral/os-base
      command: sh -c 'echo "command ${EXTRA_CMDLINE}"; echo "environment $$EXTRA_CMDLINE"'
      environment: [EXTRA_CMDLINE]
      labels: {io.rancher.os.scope: system}
"#;

#[test]
fn words_after_two_hyphens_take_effect_and_win() -> Result<()> {
    let folder = folder("elide")?;
    let append = "cc.something=yes rancher.password=two rancher.modules=[zram] \
                  rancher.sysctl.kernel.domainname=by-kernel rancher.log \
                  -- cc.hostname=nope rancher.password=three";
    let options = Options { append: append.to_owned(), ..Options::default() };
    let mut machine = super::with_config(&folder, SERVICE, options)?;
    machine.expect_login()?;
    assert_eq!(machine.run("hostname")?, "nope");
    let hidden = "/init cc.hostname=nope rancher.password=three";
    assert_eq!(machine.run("sudo ros config get rancher.environment.EXTRA_CMDLINE")?, hidden);
    machine.expect("sudo system-docker logs test | grep -q environment")?;
    assert_eq!(
        machine.run("sudo system-docker logs test")?,
        format!("command {hidden}\nenvironment {hidden}")
    );
    machine.expect_console(&format!("test: command {hidden}"))?;
    let file = "/var/lib/rancher/conf/local.yml";
    let service = SERVICE.replace("rancher:\n  services:\n", "").replace("    test:", "local:");
    machine.run(&format!("sudo tee {file} >/dev/null <<'END'\n{service}END"))?;
    machine.run(&format!("sudo ros service enable {file} && sudo ros service up local"))?;
    machine.expect(&format!(
        "sudo ros service logs local | grep -qx 'local_1 | environment {hidden}'"
    ))?;
    machine.run(&format!("sudo ros service logs local | grep -qx 'local_1 | command {hidden}'"))?;
    // A secret stays out of exports unless it is requested.
    assert_eq!(machine.run("sudo ros config export | grep -c password:; true")?, "0");
    assert_eq!(
        machine.run("sudo ros config export --private | grep password:")?.trim(),
        "password: three"
    );
    assert_eq!(
        machine.run("cat /proc/sys/kernel/domainname; lsmod | grep -c '^zram'")?,
        "by-kernel\n1"
    );
    let warned = machine.run("sudo ros config validate; true")?;
    assert!(
        warned.contains("kernel command line:1:")
            && warned.contains("something: warning: unknown key"),
        "{warned}"
    );
    // The password works where passwords are allowed.
    machine.run(
        "echo three | su -c 'id -un' rancher 2>&1 | grep -q rancher || \
         sudo grep -q '^rancher:[$]6[$]' /etc/shadow",
    )?;
    machine.check_alarms()
}

#[test]
fn the_oem_partition_is_a_layer_and_several_systems_share_a_disk() -> Result<()> {
    let folder = folder("oem")?;
    let (oem, state) = (folder.join("oem.img"), folder.join("state.img"));
    drive::make_ext4(
        &oem,
        "RANCHER_OEM",
        ("oem-config.yml", "#cloud-config\nrancher:\n  upgrade:\n    url: foo\n"),
    )?;
    drive::blank(&state, 512)?;
    let append = "rancher.state.dev=LABEL=RANCHER_STATE rancher.state.autoformat=[/dev/vdc] \
                  rancher.state.directory=ros_subdir \
                  rancher.state.script=\"touch /run/state-script-ran\"";
    let options =
        Options { append: append.to_owned(), disks: vec![oem, state], ..Options::default() };
    let too_late = "rancher:\n  state: {wait: true, directory: elsewhere}\n";
    let mut machine: Machine = super::with_config(&folder, too_late, options)?;
    machine.expect_login()?;
    machine.run(
        "sudo test -s /usr/share/ros/oem/oem-config.yml && sudo test -e /run/state-script-ran",
    )?;
    assert_eq!(machine.run("sudo ros config get rancher.upgrade.url")?, "foo");
    assert!(
        machine
            .run("sudo ros config explain rancher.upgrade.url")?
            .contains("/usr/share/ros/oem/oem-config.yml:4:")
    );
    assert_eq!(
        machine.run(
            "sudo ros config export | grep -c foo; sudo ros config export --full | grep -c foo"
        )?,
        "0\n1"
    );
    // The disk is there before the config drive is read.
    let warned = machine.run("sudo ros config validate")?;
    assert!(
        warned.contains("rancher.state.directory: warning: no effect here")
            && warned.contains("oem-config.yml of an OEM partition"),
        "{warned}"
    );
    machine.run("sudo mount -L RANCHER_STATE /mnt && ls -d /mnt/ros_subdir/home/rancher")?;
    machine.check_alarms()
}
