//! Servers of other projects, on loopback of this machine: NFS, SMB, iSCSI, web servers, a
//! registry, EC2's metadata. Each one ends with the story that started it.

use crate::image::Image;
use crate::process::{KillOnDrop, pause, tied};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A relay in Python that cuts each connection after so many bytes, and records how many it
/// forwarded in total. Arguments: its port, the server's port, the limit, and the file for the
/// total.
pub const CUTTER: &str = r#"
import socket, sys, threading
port, target, limit, note = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
total = 0
def copy(source, sink, count):
    global total
    left = limit
    try:
        while left > 0 and (data := source.recv(min(65536, left))):
            sink.sendall(data)
            if count:
                left -= len(data); total += len(data)
                open(note, "w").write(str(total))
    except OSError:
        pass
    for end in (source, sink):
        try: end.shutdown(socket.SHUT_RDWR)
        except OSError: pass
def serve(client):
    server = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=copy, args=(client, server, False), daemon=True).start()
    copy(server, client, True)
listener = socket.create_server(("127.0.0.1", port))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// A proxy in Python that alone knows where names lead. Arguments: its port, the file for the names
/// that were requested, then `NAME=PORT` of loopback.
const PROXY: &str = r#"
import http.client, http.server, shutil, socket, sys, threading
names = dict(pair.split("=") for pair in sys.argv[3:])
class Proxy(http.server.BaseHTTPRequestHandler):
    def note(self, name):
        login = self.headers.get("Proxy-Authorization", "no login")
        open(sys.argv[2], "a").write(f"{name} {login}\n")
    def do_CONNECT(self):
        name = self.path.partition(":")[0]
        self.note(name)
        upstream = socket.create_connection(("127.0.0.1", int(names[name])))
        self.send_response(200)
        self.end_headers()
        def back():
            shutil.copyfileobj(upstream.makefile("rb", 0), self.wfile)
            self.connection.shutdown(socket.SHUT_WR)
        threading.Thread(target=back, daemon=True).start()
        shutil.copyfileobj(self.rfile.raw, upstream.makefile("wb", 0))
        upstream.shutdown(socket.SHUT_WR)
    def forward(self):
        name, _, path = self.path.removeprefix("http://").partition("/")
        self.note(name)
        upstream = http.client.HTTPConnection("127.0.0.1", int(names[name]))
        upstream.request(self.command, "/" + path, headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(key, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_HEAD = forward
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Proxy).serve_forever()
"#;

/// A running server.
#[derive(Debug)]
pub struct Server {
    program: KillOnDrop,
    pub port: u16,
}

/// A port of loopback that no process listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}

/// What a web server on this port of loopback answers.
pub(crate) fn page(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// nfs-ganesha, which exports `export` (NFSv4) as `/export`.
pub fn nfs(folder: &Path, export: &Path) -> Result<Server> {
    let port = free_port()?;
    let tool = Image::find()?.tools.join("ganesha.nfsd");
    let script =
        fs::read_to_string(&tool).with_context(|| format!("reading {}", tool.display()))?;
    let plugins = script.lines().find_map(|line| line.strip_prefix("export GANESHA_PLUGINS="));
    let plugins = plugins.context("the script of ganesha names no plug-ins")?;
    let recovery = folder.join("nfs-recovery");
    fs::create_dir_all(&recovery)?;
    let text = format!(
        "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; \
           Enable_NLM = false; Enable_RQUOTA = false; allow_set_io_flusher_fail = true; \
           Plugins_Dir = \"{plugins}\"; }}\n\
         NFSV4 {{ Grace_Period = 5; Graceless = true; RecoveryBackend = fs; \
           RecoveryRoot = \"{}\"; }}\n\
         EXPORT {{ Export_Id = 1; Path = \"{}\"; Pseudo = \"/export\"; Access_Type = RW; \
           Squash = None; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
        recovery.display(),
        export.display()
    );
    let config = folder.join("ganesha.conf");
    fs::write(&config, text)?;
    let mut command = tied(&tool);
    command.arg("-F").arg("-f").arg(&config).arg("-p").arg(folder.join("ganesha.pid"));
    command.args(["-L", "STDERR"]);
    start(command, port, &folder.join("ganesha.out"))
}

/// The password of `smb`, and its hash as Windows has it (MD4 of UTF-16).
pub const SMB_PASSWORD: &str = "password";
const SMB_HASH: &str = "8846F7EAEE8FB117AD06BDD830B7586C";

/// Samba, which shares `content` as `share`. Returns also the name that logs in: that of the user
/// who runs the story.
pub fn smb(folder: &Path, content: &Path) -> Result<(Server, String)> {
    let port = free_port()?;
    let [user, id] = ["-un", "-u"].map(|flag| output(Command::new("id").arg(flag)));
    let (user, id) = (user?.trim().to_owned(), id?.trim().to_owned());
    let own = folder.join("samba");
    fs::create_dir_all(&own)?;
    // The older of the two hashes is never accepted: 32 letters that are no digits.
    let none = "X".repeat(32);
    let account = format!("{user}:{id}:{none}:{SMB_HASH}:[U          ]:LCT-00000001:\n");
    let passwords = own.join("smbpasswd");
    fs::write(&passwords, account)?;
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600))?;
    let folders = ["private dir", "pid directory", "lock directory", "state directory"];
    let folders = folders.into_iter().chain(["cache directory", "ncalrpc dir"]);
    let folders: String =
        folders.map(|name| format!("{name} = {}\n", own.join("run").display())).collect();
    let text = format!(
        "[global]\nserver role = standalone server\nsmb ports = {port}\n\
         interfaces = 127.0.0.1\nbind interfaces only = yes\ndisable netbios = yes\n{folders}\
         passdb backend = smbpasswd:{}\nload printers = no\ndisable spoolss = yes\n\
         [share]\npath = {}\nread only = no\n",
        passwords.display(),
        content.display()
    );
    fs::create_dir_all(own.join("run"))?;
    let config = own.join("smb.conf");
    fs::write(&config, text)?;
    let mut command = tied(&Image::find()?.tools.join("smbd"));
    command.args(["--foreground", "--no-process-group", "--debug-stdout"]);
    command.arg("--log-basename").arg(&own).arg("--configfile").arg(&config);
    Ok((start(command, port, &folder.join("smbd.out"))?, user))
}

/// The name of the disk that `iscsi` serves.
pub const ISCSI_TARGET: &str = "iqn.2024-01.com.example:files";

/// tgt, which serves a disk image as `ISCSI_TARGET` to every client, without a login. Discovery
/// names the address that it has on this machine, which no machine of a story can reach.
pub fn iscsi(folder: &Path, disk: &Path) -> Result<Server> {
    let port = free_port()?;
    let tools = &Image::find()?.tools;
    // The variable is a prefix: `-C` adds a number. A path of a socket has at most 107 bytes.
    let socket = folder.join("tgt");
    let mut command = tied(&tools.join("tgtd"));
    command.args(["-f", "-C", "0", "--iscsi", &format!("portal=127.0.0.1:{port}")]);
    command.env("TGT_IPC_SOCKET", &socket);
    let server = start(command, port, &folder.join("tgtd.log"))?;
    let control = |arguments: &[&str]| {
        let mut command = Command::new(tools.join("tgtadm"));
        command.env("TGT_IPC_SOCKET", &socket).args(["-C", "0", "--lld", "iscsi", "--tid", "1"]);
        output(command.args(arguments))
    };
    let disk = disk.to_str().context("a disk image whose path is no text")?;
    control(&["--mode", "target", "--op", "new", "--targetname", ISCSI_TARGET])?;
    control(&["--mode", "logicalunit", "--op", "new", "--lun", "1", "--backing-store", disk])?;
    control(&["--mode", "target", "--op", "bind", "--initiator-address", "ALL"])?;
    Ok(server)
}

/// Python's own web server over a folder.
pub fn web(folder: &Path, content: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = tied(Path::new("python3"));
    command
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
        .arg(content);
    start(command, port, &folder.join("web.log"))
}

/// A web server with TLS in Python. Arguments: its port, the folder, certificate and key.
const WEB_TLS: &str = r#"
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// The same with TLS, by a certificate of its own for machines that reach it at 10.0.2.2. Returns
/// the certificate too.
pub fn web_tls(folder: &Path, content: &Path) -> Result<(Server, String)> {
    let (key, cert) = (folder.join("web.key"), folder.join("web.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9"]);
    openssl.args(["-subj", "/CN=first-hour", "-addext", "subjectAltName=IP:10.0.2.2"]);
    let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).output()?;
    if !made.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok((start_web_tls(folder, content, &cert, &key)?, fs::read_to_string(&cert)?))
}

fn start_web_tls(folder: &Path, content: &Path, cert: &Path, key: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = tied(Path::new("python3"));
    command.args(["-c", WEB_TLS, &port.to_string()]).arg(content).arg(cert).arg(key);
    start(command, port, &folder.join("web-tls.log"))
}

/// An authority, and a server's certificate that becomes valid tomorrow, in Python. Arguments: the
/// server's name, and the files for the authority, the certificate and the key.
const OF_TOMORROW: &str = r#"
import sys
from datetime import datetime, timedelta, timezone
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
name, now = sys.argv[1], datetime.now(timezone.utc)
def named(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
def sign(subject, key, start, is_authority):
    draft = x509.CertificateBuilder().not_valid_before(start).not_valid_after(now + timedelta(9))
    draft = draft.subject_name(named(subject)).issuer_name(named("story"))
    draft = draft.public_key(key.public_key()).serial_number(x509.random_serial_number())
    draft = draft.add_extension(x509.BasicConstraints(is_authority, None), True)
    draft = draft.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), False)
    return draft.sign(root, hashes.SHA256())
def write(path, data):
    open(path, "wb").write(data)
root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
pem = serialization.Encoding.PEM
write(sys.argv[2], sign("story", root, now - timedelta(1), True).public_bytes(pem))
write(sys.argv[3], sign(name, key, now + timedelta(1), False).public_bytes(pem))
form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
write(sys.argv[4], key.private_bytes(pem, form, none))
"#;

/// A web server with TLS for a name, whose certificate becomes valid tomorrow. Returns its
/// authority too.
pub fn web_of_tomorrow(folder: &Path, content: &Path, name: &str) -> Result<(Server, String)> {
    let files = ["authority.pem", "web.pem", "web.key"].map(|name| folder.join(name));
    let mut python = Command::new(Image::find()?.tools.join("docker-py"));
    output(python.args(["-c", OF_TOMORROW, name]).args(&files))?;
    let [authority, cert, key] = &files;
    Ok((start_web_tls(folder, content, cert, key)?, fs::read_to_string(authority)?))
}

/// Debian's docker-registry, without TLS.
pub fn registry(folder: &Path) -> Result<Server> {
    let port = free_port()?;
    let config = folder.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: 127.0.0.1:{port}}}\n",
        folder.join("registry").display()
    );
    fs::write(&config, text)?;
    let mut command = tied(&Image::find()?.tools.join("docker-registry"));
    command.arg("serve").arg(&config);
    start(command, port, &folder.join("registry.log"))
}

/// Pushes an OCI layout in a tar archive to a registry, with curl: every manifest of its index
/// under its own tag.
pub fn push_layout(registry: &Server, archive: &Path, repository: &str, work: &Path) -> Result<()> {
    fs::create_dir_all(work)?;
    output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(work))?;
    let base = format!("http://127.0.0.1:{}/v2/{repository}", registry.port);
    let blob = |digest: &str| work.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let json = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let index = json(&work.join("index.json"))?;
    for entry in index["manifests"].as_array().context("an index without manifests")? {
        let manifest = blob(entry["digest"].as_str().unwrap_or_default());
        let parsed = json(&manifest)?;
        let layers = parsed["layers"].as_array().into_iter().flatten();
        for digest in layers.chain([&parsed["config"]]).filter_map(|each| each["digest"].as_str()) {
            push_blob(&base, digest, &blob(digest))?;
        }
        let name =
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default();
        let tag = name.rsplit(':').next().unwrap_or_default();
        let kind = format!("Content-Type: {}", entry["mediaType"].as_str().unwrap_or_default());
        let target = format!("{base}/manifests/{tag}");
        output(curl().args(["-H", &kind, "-T"]).arg(&manifest).arg(target))?;
    }
    Ok(())
}

/// Pushes an archive of files as an image of one layer, with the tag `1`.
pub fn push_files(registry: &Server, archive: &Path, repository: &str, work: &Path) -> Result<()> {
    let base = format!("http://127.0.0.1:{}/v2/{repository}", registry.port);
    let layer = describe("application/vnd.oci.image.layer.v1.tar", archive)?;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let config = work.join("config.json");
    let text = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "Env": [path]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    fs::write(&config, text.to_string())?;
    let described = describe("application/vnd.oci.image.config.v1+json", &config)?;
    for (blob, file) in [(&layer, archive), (&described, config.as_path())] {
        push_blob(&base, blob["digest"].as_str().unwrap_or_default(), file)?;
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = work.join("manifest.json");
    let text = json!({
        "schemaVersion": 2, "mediaType": kind, "config": described, "layers": [layer],
    });
    fs::write(&manifest, text.to_string())?;
    let header = format!("Content-Type: {kind}");
    output(curl().args(["-H", &header, "-T"]).arg(manifest).arg(format!("{base}/manifests/1")))
        .map(drop)
}

/// A file as a part of an image.
fn describe(kind: &str, file: &Path) -> Result<Value> {
    let sum = output(Command::new("sha256sum").arg(file))?;
    let digest = sum.split(' ').next().unwrap_or_default();
    let size = fs::metadata(file)?.len();
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size}))
}

fn push_blob(base: &str, digest: &str, file: &Path) -> Result<()> {
    let reply = output(curl().args(["-X", "POST", "-D", "-", &format!("{base}/blobs/uploads/")]))?;
    let place =
        reply.lines().find_map(|line| line.strip_prefix("Location: ")).context("no place")?;
    let target = format!("{}&digest={digest}", place.trim());
    output(curl().arg("-T").arg(file).arg(target)).map(|_| ())
}

/// curl, which fails on a server error. It uses no proxy, because a proxy does not reach loopback.
fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["-fsS", "--noproxy", "*"]);
    command
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `CUTTER` in front of a server: every connection is closed after `limit` bytes. `folder/passed`
/// has the total.
pub fn cutter(folder: &Path, server: &Server, limit: u64) -> Result<Server> {
    let port = free_port()?;
    let script = folder.join("cutter.py");
    fs::write(&script, CUTTER)?;
    let mut command = tied(Path::new("python3"));
    command.arg(script).args([port.to_string(), server.port.to_string(), limit.to_string()]);
    command.arg(folder.join("passed"));
    start(command, port, &folder.join("cutter.log"))
}

/// `PROXY`, which knows these names, each as a port of loopback. `folder/proxied` has the names
/// that were requested.
pub fn proxy(folder: &Path, names: &[(&str, u16)]) -> Result<Server> {
    let port = free_port()?;
    let script = folder.join("proxy.py");
    fs::write(&script, PROXY)?;
    let mut command = tied(Path::new("python3"));
    command.arg(script).arg(port.to_string()).arg(folder.join("proxied"));
    command.args(names.iter().map(|(name, port)| format!("{name}={port}")));
    start(command, port, &folder.join("proxy.log"))
}

/// moto, a mock of Amazon's services; it also answers requests for 169.254.169.254.
pub fn moto(folder: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = tied(&Image::find()?.tools.join("moto_server"));
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    start(command, port, &folder.join("moto.log"))
}

/// A program that connects its standard input and output to a port of loopback, for QEMU's
/// `guestfwd`.
pub fn relay(folder: &Path, port: u16) -> Result<PathBuf> {
    let file = folder.join("relay");
    let script =
        format!("#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{port}\ncat <&3 &\ncat >&3\nwait\n");
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

pub(crate) fn start(mut command: Command, port: u16, log: &Path) -> Result<Server> {
    let output = File::create(log)?;
    let errors = output.try_clone()?;
    let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
    let child = child.with_context(|| format!("starting {command:?}"))?;
    let mut server = Server { program: KillOnDrop(child), port };
    let deadline = Instant::now() + TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = server.program.0.try_wait()? {
            bail!("{command:?}: {status}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        if Instant::now() > deadline {
            bail!("{command:?} does not listen: {}", fs::read_to_string(log).unwrap_or_default());
        }
        pause(Duration::from_millis(100));
    }
    Ok(server)
}
