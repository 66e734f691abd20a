//! The text of a licence for a crate whose source has none: its authors have published it in their
//! repository only.

use crate::tree::Blob;
use anyhow::{Result, bail, ensure};
use std::path::Path;

/// Debian's copies of the usual licences, to which its packages refer.
pub(crate) const TEXTS: &str = "/usr/share/common-licenses";

/// <https://spdx.org/licenses/MIT.html>
const MIT: &str = "Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the \"Software\"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
";

/// The name and the text of one licence that this SPDX expression offers.
pub(super) fn text(
    expression: &str,
    authors: impl FnOnce() -> Result<Vec<String>>,
) -> Result<(&'static str, Blob)> {
    let offers = |id: &str| expression.split(" OR ").any(|offered| offered == id);
    // Debian has no copy of MIT's, because each has other names in it.
    for (id, name) in [("Apache-2.0", "Apache-2.0"), ("MPL-2.0", "MPL-2.0")] {
        if offers(id) {
            return Ok((name, Blob::Host(Path::new(TEXTS).join(name))));
        }
    }
    if offers("MIT") {
        let authors = authors()?;
        ensure!(!authors.is_empty(), "its source has no text, and does not name its authors");
        let text = format!("Copyright (c) {}\n\n{MIT}", authors.join(", "));
        return Ok(("MIT", Blob::Bytes(text.into_bytes())));
    }
    bail!(
        "its source has no text, and {expression:?} has no standard text; add one to \
         xtask/src/licences/standard.rs"
    )
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_licence_that_is_offered_has_its_text() {
        let authors = || Ok(vec!["A <a@example.com>".to_owned()]);
        let (name, blob) = text("MIT", authors).unwrap();
        let shown = String::from_utf8(blob.read().unwrap()).unwrap();
        assert_eq!(name, "MIT");
        assert!(shown.starts_with("Copyright (c) A <a@example.com>\n\nPermission"), "{shown}");
        let (name, blob) = text("MIT OR Apache-2.0", authors).unwrap();
        assert_eq!(name, "Apache-2.0");
        assert!(String::from_utf8(blob.read().unwrap()).unwrap().contains("Apache License"));
        assert!(text("Apache-2.0 AND Zlib", authors).is_err());
        assert!(text("MIT", || Ok(Vec::new())).is_err());
    }
}
