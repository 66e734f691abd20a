//! How values are written in messages and records where that is not serde's own way. Durations are
//! numbers, and one that is absent is 0. Records of earlier versions have these shapes.

/// Nanoseconds; 0: none.
pub(crate) mod optional_nanos {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let nanos = time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        serializer.serialize_u64(nanos)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let nanos = u64::deserialize(deserializer)?;
        Ok((nanos > 0).then(|| Duration::from_nanos(nanos)))
    }
}

/// Milliseconds.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Milliseconds; 0: none.
pub(crate) mod optional_millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::millis::serialize(&time.unwrap_or_default(), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let millis = u64::deserialize(deserializer)?;
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use std::time::Duration;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Shapes {
        #[serde(with = "super::optional_nanos")]
        nanos: Option<Duration>,
        #[serde(with = "super::millis")]
        millis: Duration,
        #[serde(with = "super::optional_millis")]
        optional: Option<Duration>,
    }

    #[test]
    fn what_is_absent_is_zero() {
        let full = Shapes {
            nanos: Some(Duration::from_nanos(7)),
            millis: Duration::from_millis(8),
            optional: Some(Duration::from_millis(9)),
        };
        let empty = Shapes { nanos: None, millis: Duration::ZERO, optional: None };
        for (shapes, document) in [
            (full, json!({"nanos": 7, "millis": 8, "optional": 9})),
            (empty, json!({"nanos": 0, "millis": 0, "optional": 0})),
        ] {
            assert_eq!(serde_json::to_value(&shapes).unwrap(), document);
            assert_eq!(serde_json::from_value::<Shapes>(document).unwrap(), shapes);
        }
    }
}
