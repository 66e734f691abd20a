//! Encodings of content in a configuration: cloud-init's names for base64 and gzip.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Read;

/// The most that a compressed document may become, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// How a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Plain,
    Base64,
    Gzip,
    GzipBase64,
}

impl Encoding {
    /// By its name; cloud-init knows several for each.
    pub fn parse(name: &str) -> Option<Encoding> {
        match name {
            "" | "text/plain" => Some(Encoding::Plain),
            "b64" | "base64" => Some(Encoding::Base64),
            "gz" | "gzip" => Some(Encoding::Gzip),
            "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => Some(Encoding::GzipBase64),
            _ => None,
        }
    }

    /// The bytes that are meant.
    pub fn decode(self, content: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Encoding::Plain => Ok(content.to_vec()),
            Encoding::Base64 => base64(content),
            Encoding::Gzip => gunzip(content),
            Encoding::GzipBase64 => gunzip(&base64(content)?),
        }
    }
}

/// Decodes base64; blanks and line ends in it mean nothing.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(text).map_err(|error| format!("this is not base64: {error}"))
}

/// Does it begin as gzip does?
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks gzip, up to a limit.
pub(crate) fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut result = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES + 1);
    reader.read_to_end(&mut result).map_err(|error| format!("this is not gzip: {error}"))?;
    if result.len() as u64 > MAX_BYTES {
        return Err(format!("it unpacks to more than {MAX_BYTES} bytes"));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_encoding_gives_the_text_back() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(b"text").unwrap();
        let gzip = gzip.finish().unwrap();
        let cases: [(&str, Vec<u8>); 4] = [
            ("", b"text".to_vec()),
            ("base64", b"dGV4\n dA==".to_vec()),
            ("gz", gzip.clone()),
            ("gz+b64", STANDARD.encode(&gzip).into_bytes()),
        ];
        for (name, content) in cases {
            assert_eq!(Encoding::parse(name).unwrap().decode(&content).unwrap(), b"text", "{name}");
        }
        assert!(Encoding::Gzip.decode(b"text").is_err());
        assert!(Encoding::Base64.decode(b"*").is_err());
    }
}
