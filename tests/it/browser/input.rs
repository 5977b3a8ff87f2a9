//! What a person does with the page.

use std::path::Path;

use serde_json::json;

use super::Browser;
use bilico_testkit::wait_for;

impl Browser {
    /// Clicks on an element with the mouse, as soon as it can be hit.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const node = document.querySelector({}); if (!node) return null; \
             node.scrollIntoView({{block: 'center'}}); const box = node.getBoundingClientRect(); \
             const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]; \
             return node.contains(document.elementFromPoint(x, y)) ? {{x, y}} : null; }})()",
            json!(selector)
        );
        let place = wait_for(&format!("{selector} to be clickable"), || {
            let place = self.value(&place);
            (!place.is_null()).then_some(place)
        });
        for (kind, buttons) in [("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "buttons": buttons, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses and releases a key: `Tab`, `Enter`, `Escape` or `ArrowLeft`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowLeft" => (37, ""),
            other => panic!("unknown key {other}"),
        };
        let down = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        let mut event = json!({"type": down, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        event["text"] = json!("");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types a text into the element with the focus, in place of the selection.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Chooses files in an input for files.
    #[track_caller]
    pub fn choose_files(&mut self, selector: &str, files: &[&Path]) {
        let document = self.call("DOM.getDocument", json!({}));
        let root = document["root"]["nodeId"].clone();
        let found = self.call(
            "DOM.querySelector",
            json!({"nodeId": root, "selector": selector}),
        );
        let files = json!({"nodeId": found["nodeId"], "files": files});
        self.call("DOM.setFileInputFiles", files);
    }

    /// Drops files on the middle of the window.
    pub fn drop_files(&mut self, files: &[&Path]) {
        for kind in ["dragEnter", "dragOver", "drop"] {
            let data = json!({"items": [], "files": files, "dragOperationsMask": 1});
            let event = json!({"type": kind, "x": 300, "y": 300, "data": data});
            self.call("Input.dispatchDragEvent", event);
        }
    }
}
