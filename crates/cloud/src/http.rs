//! HTTP for data sources: requests with a deadline. Errors of a busy or starting server (5xx, 429,
//! refused, no route yet) are tried again; any other 4xx answer is final.

use anyhow::{Context, Result, bail};
use corral_config::names::shown_url;
use corral_machine::deadline;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder};
use rustls::CertificateError;
use std::error::Error;
use std::io::{self, Read};
use std::sync::Once;
use std::time::{Duration, Instant};

/// A single attempt takes at most so long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The first pause between attempts; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// No configuration is larger, compressed or not.
const MAX_BYTES: u64 = 16 << 20;

static PROVIDER: Once = Once::new();

/// A client with one deadline for all its requests.
#[derive(Debug)]
pub struct Http {
    client: Client,
    deadline: Instant,
    attempts: u32,
    /// Is an answer that there is nothing a reason to try again?
    is_insistent: bool,
}

/// Headers of a request.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

impl Http {
    /// A client that goes through the proxies of its environment.
    pub fn new(deadline: Instant) -> Result<Http> {
        Http::build(deadline, |builder| builder)
    }

    /// A client that sends requests to servers of this network directly.
    pub fn direct(deadline: Instant) -> Result<Http> {
        Http::build(deadline, reqwest::blocking::ClientBuilder::no_proxy)
    }

    /// A client for what must not be replaced on its way: TLS only, also after a redirection.
    pub fn secure(deadline: Instant) -> Result<Http> {
        Http::build(deadline, |builder| builder.https_only(true))
    }

    fn build(
        deadline: Instant,
        adjust: fn(reqwest::blocking::ClientBuilder) -> reqwest::blocking::ClientBuilder,
    ) -> Result<Http> {
        PROVIDER.call_once(|| {
            // An error means that there is one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let builder = Client::builder().connect_timeout(Duration::from_secs(5));
        let builder = builder.user_agent(concat!("corral/", env!("CARGO_PKG_VERSION")));
        let client = adjust(builder).build().context("creating an HTTP client")?;
        Ok(Http { client, deadline, attempts: u32::MAX, is_insistent: false })
    }

    /// The same client for what can be done without: three attempts.
    pub fn brief(&self) -> Http {
        Http { attempts: 3, ..self.copy() }
    }

    /// The same client for what not every server knows: one attempt, which ends after `limit`.
    pub(super) fn once(&self, limit: Duration) -> Http {
        let deadline = self.deadline.min(Instant::now() + limit);
        Http { deadline, attempts: 1, ..self.copy() }
    }

    /// The same client for a server that is there before it knows what it is to serve.
    pub(super) fn insistent(&self) -> Http {
        Http { is_insistent: true, ..self.copy() }
    }

    fn copy(&self) -> Http {
        Http { client: self.client.clone(), ..*self }
    }

    /// GETs a document; None if the server says that there is none.
    pub fn get(&self, url: &str) -> Result<Option<Vec<u8>>> {
        self.get_with(url, &[])
    }

    /// The same with headers.
    pub fn get_with(&self, url: &str, headers: Headers<'_>) -> Result<Option<Vec<u8>>> {
        self.send(url, || with(self.client.get(url), headers))
    }

    /// GETs text.
    pub fn get_text(&self, url: &str, headers: Headers<'_>) -> Result<Option<String>> {
        let bytes = self.get_with(url, headers)?;
        bytes
            .map(|bytes| {
                String::from_utf8(bytes).with_context(|| format!("{}: not text", shown_url(url)))
            })
            .transpose()
    }

    /// GETs JSON. Anything else is an error: some networks answer every request with a page of
    /// theirs.
    pub fn get_json(&self, url: &str, headers: Headers<'_>) -> Result<Option<serde_json::Value>> {
        let bytes = self.get_with(url, headers)?;
        bytes
            .map(|bytes| {
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{}: not JSON", shown_url(url)))
            })
            .transpose()
    }

    /// PUTs nothing, with headers.
    pub fn put(&self, url: &str, headers: Headers<'_>) -> Result<Option<Vec<u8>>> {
        self.send(url, || with(self.client.put(url), headers))
    }

    /// POSTs a document.
    pub fn post(&self, url: &str, headers: Headers<'_>, body: &str) -> Result<Option<Vec<u8>>> {
        self.send(url, || with(self.client.post(url).body(body.to_owned()), headers))
    }

    fn send(&self, url: &str, request: impl Fn() -> RequestBuilder) -> Result<Option<Vec<u8>>> {
        let shown = shown_url(url);
        let (mut pause, mut attempts) = (FIRST_PAUSE, 0);
        loop {
            attempts += 1;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let problem = match attempt(request().timeout(left.min(ATTEMPT))) {
                Ok(Reply::Document(bytes)) => return Ok(Some(bytes)),
                Ok(Reply::NotThere) if !self.is_insistent => return Ok(None),
                Ok(Reply::NotThere) => anyhow::anyhow!("{shown}: the server has nothing there"),
                Ok(Reply::Refused(status)) => bail!("{shown}: HTTP status {status}"),
                Ok(Reply::Busy(status)) => anyhow::anyhow!("{shown}: HTTP status {status}"),
                Err(error) => error.context(shown.clone()),
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left <= pause || attempts >= self.attempts {
                return Err(problem);
            }
            // Nothing reports that a server on the network begins to answer.
            deadline::pause(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// Was a server refused because its certificate is not valid at the time of this machine's clock?
pub fn is_of_clock(error: &anyhow::Error) -> bool {
    error.chain().any(is_wrong_time)
}

fn is_wrong_time(error: &(dyn Error + 'static)) -> bool {
    // What an I/O error is made of is not among its sources.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_wrong_time(inner);
    }
    let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref::<rustls::Error>() else {
        return false;
    };
    matches!(
        why,
        CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
    )
}

fn with(mut request: RequestBuilder, headers: Headers<'_>) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

/// What a server answered to one attempt.
enum Reply {
    Document(Vec<u8>),
    NotThere,
    /// Another attempt would get the same.
    Refused(StatusCode),
    /// Worth another attempt.
    Busy(StatusCode),
}

fn attempt(request: RequestBuilder) -> Result<Reply> {
    // The caller adds the address to the error, once.
    let response = request.send().map_err(reqwest::Error::without_url)?;
    let status = response.status();
    if status == StatusCode::NOT_FOUND
        || status == StatusCode::GONE
        || status == StatusCode::NO_CONTENT
    {
        return Ok(Reply::NotThere);
    }
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return Ok(Reply::Refused(status));
    }
    if !status.is_success() {
        return Ok(Reply::Busy(status));
    }
    let mut bytes = Vec::new();
    response.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("the answer has more than {MAX_BYTES} bytes");
    }
    Ok(Reply::Document(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_valid_now_is_a_matter_of_the_clock() {
        let refused = |why| rustls::Error::InvalidCertificate(why);
        // As a client of HTTP wraps it.
        let wrapped = |error: rustls::Error| {
            let inner = io::Error::new(io::ErrorKind::InvalidData, error);
            anyhow::Error::from(io::Error::other(inner)).context("https://host")
        };
        for (error, expected) in [
            (refused(CertificateError::NotValidYet), true),
            (refused(CertificateError::Expired), true),
            (refused(CertificateError::UnknownIssuer), false),
            (rustls::Error::DecryptError, false),
        ] {
            assert_eq!(is_of_clock(&wrapped(error.clone())), expected, "{error}");
        }
        assert!(!is_of_clock(&anyhow::anyhow!("HTTP status 503")));
    }
}
