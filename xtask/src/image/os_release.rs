//! `/etc/os-release` of the system.

/// os-release(5). Its `ID_LIKE` is what tools for RancherOS look for. There are no addresses of web
/// pages, because the project has none.
pub(crate) fn os_release(version: &str, epoch: u64) -> String {
    let lines = [
        "NAME=\"Corral\"".to_owned(),
        format!("PRETTY_NAME=\"Corral v{version}\""),
        "ID=corral".to_owned(),
        "ID_LIKE=rancheros".to_owned(),
        format!("VERSION=\"v{version}\""),
        format!("VERSION_ID=\"{version}\""),
        format!("BUILD_ID=\"{epoch}\""),
        "IMAGE_ID=corral".to_owned(),
        format!("IMAGE_VERSION=\"{version}\""),
        "ANSI_COLOR=\"0;36\"".to_owned(),
    ];
    lines.map(|line| line + "\n").concat()
}
