//! What `ros` reads of releases, apart from the program: strangers may have written it, and the
//! fuzz targets read it too.

pub mod manifest;
