//! What is requested of an engine's networks.

use super::client::{Client, WORK, segment};
use super::error::Error;
use hyper::Method;
use serde_json::{Value, json};

impl Client {
    pub fn has_network(&self, name: &str) -> Result<bool, Error> {
        let found: Result<Value, Error> = self.get(&format!("/networks/{}", segment(name)));
        Error::absence(found).map(|network| network.is_some())
    }

    /// Creates a bridge network.
    pub fn create_network(&self, name: &str) -> Result<(), Error> {
        // Without `CheckDuplicate`, old engines create a second one of that name.
        let body = json!({"Name": name, "Driver": "bridge", "CheckDuplicate": true});
        self.act(Method::POST, "/networks/create", Some(&body), WORK)
    }
}
