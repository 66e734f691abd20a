//! Metadata services of providers, on loopback of this machine: they serve files, require the
//! headers that the provider requires, and keep what a machine reports.

use crate::process::tied;
use crate::servers::{Server, free_port, start};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// In Python. Arguments: its port, the folder, the file for requests, and `PATH=HEADER: VALUE` for
/// each beginning of a path that requires a header. A request without it is refused.
const SERVICE: &str = r#"
import http.server, os, sys
folder, note = sys.argv[2], sys.argv[3]
required = [rule.split("=", 1) for rule in sys.argv[4:]]
class Service(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def is_allowed(self):
        for start, header in required:
            name, value = header.split(": ", 1)
            if self.path.startswith(start) and self.headers.get(name) != value:
                return False
        return True
    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with open(note, "ab") as log:
            log.write(f"{self.command} {self.path} ".encode() + body + b"\n")
        if not self.is_allowed():
            return self.answer(400)
        if self.command == "PUT":
            return self.answer(200, b"a-token")
        if self.command == "POST":
            return self.answer(200)
        path = os.path.join(folder, self.path.partition("?")[0].strip("/"))
        if os.path.isdir(path):
            path = os.path.join(path, "index")
        if not os.path.isfile(path):
            return self.answer(404)
        with open(path, "rb") as file:
            self.answer(200, file.read())
    do_GET = do_PUT = do_POST = serve
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
"#;

/// The token that a PUT gives.
pub const TOKEN: &str = "a-token";

/// A service that is running.
#[derive(Debug)]
pub struct Service {
    pub server: Server,
    note: PathBuf,
}

impl Service {
    /// Serves these files, each with its path.
    pub fn start(folder: &Path, files: &[(&str, &str)], required: &[&str]) -> Result<Service> {
        let content = folder.join("metadata");
        for (path, text) in files {
            let file = content.join(path);
            let parent = file.parent().context("a file without a folder")?;
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&file, text))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let (script, note) = (folder.join("metadata.py"), folder.join("requests"));
        fs::write(&script, SERVICE).context("writing the metadata service")?;
        fs::write(&note, "").context("writing the metadata service")?;
        let port = free_port()?;
        let mut command = tied(Path::new("python3"));
        command.arg(script).arg(port.to_string()).arg(content).arg(&note).args(required);
        let server = start(command, port, &folder.join("metadata.log"))?;
        Ok(Service { server, note })
    }

    /// Every request so far, a line each: method, path, body.
    pub fn requests(&self) -> Result<String> {
        fs::read_to_string(&self.note).context("reading the requests to a metadata service")
    }
}
