//! `eb.lora/1`: other adapters on the model that is open. It owns what is told of a file that is none for this model, where
//! llama.cpp would only say that something is wrong; it must not know the C boundary.

use super::Session;
use super::raw::Adapter;
use crate::failure::Failure;
use crate::preflight::inspect_adapter;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Session {
    /// Has these adapters, each with its scale, and no others act on the model, and forgets all sequences.
    ///
    /// # Errors
    /// `EB_ERR_MODEL`: a file is missing, damaged, no adapter, or one for another model. Nothing has changed then.
    pub fn adapt(&mut self, adapters: &[(&Path, f32)]) -> Result<(), Failure> {
        let new = adapters.iter().map(|&(path, scale)| Ok((self.load_adapter(path)?, scale)));
        let new = new.collect::<Result<Vec<_>, Failure>>()?;
        self.forget();
        self.context.adapt(&new);
        // Those before are used no more.
        self.adapters = new;
        Ok(())
    }

    fn load_adapter(&self, path: &Path) -> Result<Adapter, Failure> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let about = |why: String| Failure::model(format!("the LoRA adapter {name}: {why}"));
        inspect_adapter(path, &self.header.architecture).map_err(about)?;
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| about("a NUL in its path".to_owned()))?;
        let _ = self.log.take_error();
        Adapter::load(&self.model, &c_path).ok_or_else(|| {
            let why = self.log.take_error().unwrap_or_else(|| "llama.cpp did not say why, see the log".to_owned());
            about(format!("{why}; give one that was trained on this model"))
        })
    }
}
