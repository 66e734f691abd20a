//! The SDKs: docker-py from PyPI, bollard from crates.io.

use super::sandbox;
use anyhow::{Context, Result};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use std::process::Command;

const PYTHON: &str = r#"
import docker, io, os, socket, tarfile, threading, websocket
client = docker.from_env()
assert client.ping() and client.version()["ApiVersion"]
assert client.containers.run("busybox", "echo hi", remove=True) == b"hi\n"
c = client.containers.run("busybox", "sleep 1000", detach=True, name="py", labels={"a": "b"},
                          environment=["X=1"], mem_limit=None,
                          volumes={"pydata": {"bind": "/data", "mode": "rw"}})
code, output = c.exec_run("sh -c 'echo $X; echo err >&2; exit 4'", demux=True)
assert (code, output) == (4, (b"1\n", b"err\n")), (code, output)
data = io.BytesIO(); t = tarfile.open(fileobj=data, mode="w")
i = tarfile.TarInfo("file"); i.size = 3
t.addfile(i, io.BytesIO(b"abc")); t.close()
assert c.put_archive("/data", data.getvalue())
bits, stat = c.get_archive("/data/file")
assert stat["size"] == 3 and b"abc" in b"".join(bits)
assert [x.name for x in client.containers.list(filters={"label": "a=b"})] == ["py"]
seen = []
events = client.events(decode=True, filters={"container": "py"})
t = threading.Thread(target=lambda: seen.extend(e["Action"] for _, e in zip(range(3), events)))
t.start()
c.pause(); c.unpause(); c.rename("python"); t.join(20)
assert seen == ["pause", "unpause", "rename"], seen
c.reload(); assert c.name == "python" and c.status == "running"
assert next(c.stats(decode=True))["name"] == "/python"
s = c.attach_socket(params={"stream": 1, "stdout": 1}); s.close()
w = client.containers.run("busybox", "sh -c 'read x; echo got $x'", detach=True, stdin_open=True)
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["DOCKER_HOST"][len("unix://"):])
url = f"ws://localhost/v1.44/containers/{w.id}/attach/ws?stream=1&stdin=1&stdout=1"
ws = websocket.create_connection(url, socket=s)
ws.send("hello\n"); heard = b""
while b"got hello" not in heard:
    part = ws.recv(); heard += part.encode() if isinstance(part, str) else part
assert w.wait()["StatusCode"] == 0; ws.close(); w.remove()
c.stop(timeout=1); assert c.wait()["StatusCode"] == 137
n = client.networks.create("pynet", driver="bridge")
n.connect(c); n.reload(); n.disconnect(c); n.remove()
c.remove(v=True); client.volumes.get("pydata").remove()
try:
    client.containers.get("python"); raise SystemExit("it should be gone")
except docker.errors.NotFound:
    pass
image = client.images.get("busybox"); assert image.tag("busybox", "py")
assert "busybox:py" in client.images.get("busybox:py").tags
saved = b"".join(image.save(named=True)); client.images.remove("busybox:py")
assert client.images.load(saved)[0].id == image.id
print("docker-py is content")
"#;

/// Streams as docker-py's low-level client reads them.
const STREAMS: &str = r#"
import docker, os, socket, time
client = docker.from_env(); api = client.api
c = client.containers.run("busybox", "cat", detach=True, stdin_open=True)
def start(command, tty=False, **how):
    return api.exec_start(api.exec_create(c.id, command, tty=tty, stdin=tty), **how)
both = "sh -c 'echo out; sleep 0.2; echo err >&2'"
# Without `tty` at its start the output of a terminal comes in frames too.
assert start(both, tty=True) == b"out\r\nerr\r\n"
assert start(both, tty=True, demux=True) == (b"out\r\nerr\r\n", None)
assert start(both, demux=True) == (b"out\n", b"err\n")
sock = start("printf hi", tty=True, socket=True)
assert sock.read(10) == b"\x01\0\0\0\0\0\0\x02hi"; sock.close()
# Without a client the process continues, however much it writes.
assert start("sh -c 'seq 100000; echo done > /tmp/done'", detach=True) == ""
while c.exec_run("cat /tmp/done").output != b"done\n":
    time.sleep(0.1)
# Detach keys end the stream and not the process.
exec_id = api.exec_create(c.id, "cat", stdin=True, tty=True)["Id"]
sock = api.exec_start(exec_id, tty=True, socket=True)._sock
sock.sendall(b"\x10"); time.sleep(0.2); sock.sendall(b"\x11")
while sock.recv(100):
    pass
assert api.exec_inspect(exec_id)["Running"]
# A client that requests no upgrade gets the output as the body of the response.
exec_id = api.exec_create(c.id, "echo plain")["Id"]
url = f"{api.base_url}/v1.44/exec/{exec_id}/start"
assert api.post(url, json={"Tty": True, "Detach": False}).content == b"plain\n"
# A client that reads late gets the head alone: docker-py loses what comes with it.
exec_id = api.exec_create(c.id, "echo late")["Id"]
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["DOCKER_HOST"][len("unix://"):])
s.sendall(f"POST /v1.44/exec/{exec_id}/start HTTP/1.1\r\nHost: localhost\r\n"
          "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}".encode())
time.sleep(0.3)
head = s.recv(4096); assert head.endswith(b"\r\n\r\n"), head
assert s.recv(4096) == b"\x01\0\0\0\0\0\0\x05late\n"; s.close()
done = client.containers.run("busybox", "echo hello", detach=True); done.wait()
assert done.attach(stream=False, logs=True) == b"hello\n"
try:
    client.images.load(b"abc"); raise SystemExit("it is no archive")
except docker.errors.ImageLoadError:
    pass
print("streams are as Docker's")
"#;

#[test]
fn docker_py_reads_every_stream() -> Result<()> {
    let engine = sandbox("streams")?;
    let output =
        engine.client("docker-py").args(["-c", STREAMS]).output().context("starting python")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("streams are as Docker's"), "{printed}{errors}");
    Ok(())
}

#[test]
fn docker_py_manages_the_system() -> Result<()> {
    let engine = sandbox("python")?;
    let output =
        engine.client("docker-py").args(["-c", PYTHON]).output().context("starting python")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("docker-py is content"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn bollard_manages_the_system() -> Result<()> {
    let engine = sandbox("bollard")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(with_bollard(&engine.socket()))
}

async fn with_bollard(socket: &str) -> Result<()> {
    let docker = Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?
        .negotiate_version()
        .await?;
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: Some(["sh", "-c", "echo from bollard; exit 6"].map(str::to_owned).to_vec()),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name("rusty").build();
    let made = docker.create_container(Some(options), body).await?;
    docker.start_container("rusty", None::<StartContainerOptions>).await?;
    let ended = docker
        .wait_container("rusty", None::<WaitContainerOptions>)
        .next()
        .await
        .context("no answer")?;
    assert!(format!("{ended:?}").contains('6'), "{ended:?}");
    let options = LogsOptionsBuilder::new().stdout(true).build();
    let line = docker.logs("rusty", Some(options)).next().await.context("no line")??;
    assert_eq!(line.to_string(), "from bollard\n");
    let listed =
        docker.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build())).await?;
    assert_eq!(listed.first().and_then(|container| container.id.clone()), Some(made.id));
    let shown = docker.inspect_container("rusty", None).await?;
    assert_eq!(shown.state.and_then(|state| state.exit_code), Some(6));
    docker
        .remove_container("rusty", Some(RemoveContainerOptionsBuilder::new().force(true).build()))
        .await?;
    Ok(())
}

/// The tool is there: another test that could not start it would fail with an unclear error.
#[test]
fn python_has_the_sdk() -> Result<()> {
    let tool = vmtest::Image::find()?.tools.join("docker-py");
    let output =
        Command::new(&tool).args(["-c", "import docker; print(docker.__version__)"]).output();
    let output = output.with_context(|| format!("starting {}", tool.display()))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
