//! The bill of materials: SPDX 2.3 and CycloneDX 1.6, both as JSON, with the same components.

use super::identity;
use crate::components::Component;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The product, and when it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    /// With the build id.
    pub(super) version: &'a str,
    /// RFC 3339, in UTC.
    pub(super) created: &'a str,
}

const NAME: &str = "corral";
const LICENCE: &str = "Apache-2.0";
const NOTHING: &str = "NOASSERTION";
const ROOT: &str = "SPDXRef-corral";
/// Where SPDX suggests that documents without a web page have their names.
const NAMESPACE: &str = "https://spdx.org/spdxdocs";

/// <https://spdx.github.io/spdx-spec/v2.3/>
pub(super) fn spdx(product: Product<'_>, components: &[Component]) -> Value {
    let packages = components.iter().enumerate().map(spdx_package);
    let root = json!({
        "SPDXID": ROOT,
        "name": NAME,
        "versionInfo": product.version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": LICENCE,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    });
    let contains = (0..components.len()).map(|number| {
        json!({
            "spdxElementId": ROOT,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": spdx_id(number),
        })
    });
    let describes = json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": ROOT,
    });
    let name = format!("{NAME}-{}", product.version);
    let packages: Vec<Value> = std::iter::once(root).chain(packages).collect();
    let relationships: Vec<Value> = std::iter::once(describes).chain(contains).collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "documentNamespace":
            format!("{NAMESPACE}/{name}-{}", fingerprint(product, components)),
        "name": name,
        "creationInfo": {"created": product.created, "creators": ["Tool: cargo-xtask-release"]},
        "packages": packages,
        "relationships": relationships,
    })
}

fn spdx_id(number: usize) -> String {
    format!("SPDXRef-component-{number}")
}

fn spdx_package((number, component): (usize, &Component)) -> Value {
    let mut package = json!({
        "SPDXID": spdx_id(number),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": component.licence.as_deref().unwrap_or(NOTHING),
        "copyrightText": NOTHING,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": component.purl,
        }],
    });
    if let Some(sha256) = &component.sha256 {
        package["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256}]);
    }
    package
}

/// <https://cyclonedx.org/docs/1.6/json/>
pub(super) fn cyclonedx(product: Product<'_>, components: &[Component]) -> Value {
    let listed = components.iter().map(|component| {
        let mut value = json!({
            "type": "library",
            "bom-ref": component.purl,
            "name": component.name,
            "version": component.version,
            "purl": component.purl,
        });
        if let Some(licence) = &component.licence {
            value["licenses"] = json!([{"expression": licence}]);
        }
        if let Some(sha256) = &component.sha256 {
            value["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
        }
        value
    });
    let references: Vec<&str> =
        components.iter().map(|component| component.purl.as_str()).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", fingerprint(product, components)),
        "version": 1,
        "metadata": {
            "timestamp": product.created,
            "component": {
                "type": "operating-system",
                "bom-ref": NAME,
                "name": NAME,
                "version": product.version,
                "licenses": [{"license": {"id": LICENCE}}],
            },
        },
        "components": listed.collect::<Vec<Value>>(),
        "dependencies": [{"ref": NAME, "dependsOn": references}],
    })
}

/// A UUID of what the documents are about.
fn fingerprint(product: Product<'_>, components: &[Component]) -> String {
    let hash = Sha256::digest(format!("{product:?} {components:?}"));
    identity::text(identity::of_hash(&hash.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: Product = Product { version: "1.2.3+1", created: "2026-01-02T03:04:05Z" };

    fn components() -> Vec<Component> {
        let component = |name: &str, licence: Option<&str>, sha256: Option<&str>| Component {
            name: name.to_owned(),
            version: "1".to_owned(),
            purl: format!("pkg:cargo/{name}@1"),
            licence: licence.map(str::to_owned),
            sha256: sha256.map(str::to_owned),
        };
        vec![component("a", Some("MIT"), None), component("b", None, Some("00ff"))]
    }

    #[test]
    fn both_documents_name_every_component_once() {
        let (spdx, cyclonedx) = (spdx(PRODUCT, &components()), cyclonedx(PRODUCT, &components()));
        let packages = spdx["packages"].as_array().unwrap();
        assert_eq!(packages.len(), 3);
        assert_eq!(packages[1]["externalRefs"][0]["referenceLocator"], "pkg:cargo/a@1");
        assert_eq!(packages[2]["checksums"][0]["checksumValue"], "00ff");
        assert_eq!(packages[2]["licenseDeclared"], NOTHING);
        // Each relation is between elements that exist.
        let ids: Vec<&Value> = packages.iter().map(|package| &package["SPDXID"]).collect();
        let relations = spdx["relationships"].as_array().unwrap();
        assert_eq!(relations.len(), 3);
        assert!(relations.iter().all(|relation| ids.contains(&&relation["relatedSpdxElement"])));
        assert_eq!(cyclonedx["components"].as_array().unwrap().len(), 2);
        assert_eq!(cyclonedx["dependencies"][0]["dependsOn"][1], "pkg:cargo/b@1");
    }

    #[test]
    fn a_serial_number_is_a_uuid_and_depends_on_the_parts() {
        let number = cyclonedx(PRODUCT, &components())["serialNumber"].clone();
        let text = number.as_str().unwrap().strip_prefix("urn:uuid:").unwrap().to_owned();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&text[14..15], "8");
        assert_eq!(cyclonedx(PRODUCT, &components())["serialNumber"], number);
        assert_ne!(cyclonedx(PRODUCT, &[])["serialNumber"], number);
    }
}
