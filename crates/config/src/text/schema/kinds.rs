//! Types that many keys have.

use super::facts;
use super::key::Type;

pub(super) const BOOL: Type = Type::Bool;
pub(super) const STRING: Type = Type::String;
pub(super) const SECRET: Type = Type::Secret(&facts::ANYTHING);
pub(super) const STRINGS: Type = Type::List(&Type::String);
pub(super) const STRING_MAP: Type = Type::Map(&Type::String);
pub(super) const ANY: Type = Type::Any;
pub(super) const PATH: Type = Type::Text(&facts::PATH);
pub(super) const HOSTNAME: Type = Type::Text(&facts::HOSTNAME);
