//! A manifest of a registry: requested, and read up to the size that registries take. `oci-client`
//! reads all that a registry sends; the requests for blobs, whose sizes are known, are its own.

use super::registry::{Endpoint, explain};
use corral_engine::error::EngineError;
use corral_engine::image::digest::digest;
use corral_engine::image::reference as names;
use oci_client::Reference;
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use reqwest::header::ACCEPT;
use reqwest::{Response, StatusCode};

const ACCEPTED: [&str; 4] = [
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];
/// In bytes. Registries must take manifests of this size, and take no larger ones:
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests>
const LARGEST: usize = 4 << 20;

/// Why there is no manifest.
enum Failure {
    Registry(OciDistributionError),
    TooLarge,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Failure {
        Failure::Registry(OciDistributionError::RequestError(error))
    }
}

/// A manifest and its digest, which is computed, not believed.
pub(super) async fn get_manifest(
    endpoint: &Endpoint,
    reference: &Reference,
) -> Result<(Vec<u8>, String), EngineError> {
    let got = request(endpoint, reference).await;
    let raw = got.map_err(|failure| match failure {
        Failure::Registry(error) => explain(endpoint, &error),
        Failure::TooLarge => EngineError::Failed(format!(
            "{}: the manifest of {} has more than {} MiB: this is no image of containers",
            endpoint.host,
            names::name(reference),
            LARGEST >> 20
        )),
    })?;
    let found = digest(&raw);
    if let Some(wanted) = reference.digest().filter(|wanted| *wanted != found) {
        return Err(EngineError::Failed(format!(
            "{} sent {found} instead of {wanted}",
            endpoint.host
        )));
    }
    Ok((raw, found))
}

async fn request(endpoint: &Endpoint, reference: &Reference) -> Result<Vec<u8>, Failure> {
    let url = url(endpoint.scheme, reference);
    let mut response = send(endpoint, &url, None).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        // A registry without tokens, or one whose token is too old.
        let password = match (&endpoint.auth, endpoint.token()) {
            (RegistryAuth::Basic(user, password), None) => Some((user, password)),
            _ => {
                endpoint.log_in().await.map_err(Failure::Registry)?;
                None
            }
        };
        response = send(endpoint, &url, password).await?;
    }
    let status = response.status();
    let body = read(response).await?;
    check(status, &body, url).map_err(Failure::Registry)?;
    Ok(body)
}

/// As `oci-client` makes it; `ns` names the registry to a mirror.
fn url(scheme: &str, reference: &Reference) -> String {
    let (registry, repository) = (reference.resolve_registry(), reference.repository());
    let named = reference.digest().or(reference.tag()).unwrap_or("latest");
    let namespace = reference.namespace().map(|name| format!("?ns={name}")).unwrap_or_default();
    format!("{scheme}://{registry}/v2/{repository}/manifests/{named}{namespace}")
}

async fn send(
    endpoint: &Endpoint,
    url: &str,
    password: Option<(&String, &String)>,
) -> Result<Response, Failure> {
    let request = endpoint.http.get(url).header(ACCEPT, ACCEPTED.join(", "));
    let request = match (password, endpoint.token()) {
        (Some((user, password)), _) => request.basic_auth(user, Some(password)),
        (None, Some(token)) => request.bearer_auth(token),
        (None, None) => request,
    };
    Ok(request.send().await?)
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if bytes.len() + piece.len() > LARGEST {
            return Err(Failure::TooLarge);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The errors that `oci-client` makes of the same answers.
fn check(status: StatusCode, body: &[u8], url: String) -> Result<(), OciDistributionError> {
    if status == StatusCode::OK {
        return Ok(());
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(OciDistributionError::UnauthorizedError { url });
    }
    match serde_json::from_slice(body) {
        Ok(envelope) if status.is_client_error() => {
            Err(OciDistributionError::RegistryError { envelope, url })
        }
        _ => {
            let message = String::from_utf8_lossy(body).into_owned();
            Err(OciDistributionError::ServerError { code: status.as_u16(), url, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Settings;
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    /// A registry that sends this as its manifest; `/v2/` requires no login.
    fn serve(body: impl Fn(&mut TcpStream) + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = head.next().unwrap_or(Ok(String::new())).unwrap_or_default();
                head.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                if first.contains("/manifests/") {
                    body(&mut stream);
                }
            }
        });
        port
    }

    fn get(port: u16) -> Result<(Vec<u8>, String), EngineError> {
        // An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reference = names::parse(&format!("127.0.0.1:{port}/team/large:1")).unwrap();
        let endpoints = Settings::default().endpoints(&reference, None).unwrap();
        // The registry is on this machine, and speaks plain HTTP.
        let endpoint = endpoints.iter().find(|endpoint| endpoint.scheme == "http").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(get_manifest(endpoint, &reference))
    }

    #[test]
    fn a_manifest_without_end_is_an_error_that_names_the_image() {
        let port = serve(|stream| while stream.write_all(&[b' '; 65536]).is_ok() {});
        let error = get(port).unwrap_err().to_string();
        let expected = format!(
            "127.0.0.1:{port}: the manifest of 127.0.0.1:{port}/team/large has more than 4 MiB"
        );
        assert!(error.contains(&expected), "{error}");
    }

    #[test]
    fn the_largest_manifest_is_taken_and_its_digest_is_computed() {
        let port = serve(|stream| drop(stream.write_all(&vec![b' '; LARGEST])));
        let (raw, found) = get(port).unwrap();
        assert_eq!((raw.len(), found), (LARGEST, digest(&raw)));
    }

    #[test]
    fn an_answer_of_a_registry_that_is_no_manifest_is_its_error() {
        let error = |status, body: &str| {
            check(status, body.as_bytes(), "u".to_owned()).unwrap_err().to_string()
        };
        let unknown = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no such tag"}]}"#;
        assert!(error(StatusCode::NOT_FOUND, unknown).contains("no such tag"));
        assert!(error(StatusCode::BAD_GATEWAY, "<html>").contains("502"));
        assert!(check(StatusCode::OK, b"{}", String::new()).is_ok());
    }
}
