package openai

import (
	"encoding/json"
	"net/http"

	"realms/internal/gateway"
	protocol "realms/internal/protocol/openai"
	"realms/internal/realm"
)

// modelsOperation stands for the listing of models, which goes nowhere.
var modelsOperation = &protocol.Operation{Name: "models", Method: http.MethodGet, Path: "/models"}

// modelObject is OpenAI's model object.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func objectOf(m *realm.Model) modelObject {
	owner := m.OwnedBy
	if owner == "" {
		owner = "realms"
	}
	return modelObject{ID: m.Name, Object: "model", Created: m.ID.Time().Unix(), OwnedBy: owner}
}

func (h *Handler) listModels(w http.ResponseWriter, r *http.Request) {
	call, ok := h.call(w, r, modelsOperation)
	if !ok {
		return
	}
	if r.URL.Query().Has("client_version") && h.codexModels(w, r, call) {
		return
	}
	models, err := h.Gateway.Models(r.Context(), call)
	if err != nil {
		writeError(w, modelsOperation, realm.AsError(err), 0)
		return
	}
	data := make([]modelObject, len(models))
	for i, m := range models {
		data[i] = objectOf(m)
	}
	writeJSON(w, map[string]any{"object": "list", "data": data})
}

// codexModels answers Codex CLI, which asks for a catalogue in its own schema. False:
// there is none, and nothing was written.
func (h *Handler) codexModels(w http.ResponseWriter, r *http.Request, call *gateway.Call) bool {
	header, body, ok, err := h.Gateway.CodexModels(r.Context(), call)
	if err != nil {
		writeError(w, modelsOperation, realm.AsError(err), 0)
		return true
	}
	if !ok {
		return false
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	_, _ = w.Write(body) // the client may be gone
	return true
}

func (h *Handler) showModel(w http.ResponseWriter, r *http.Request) {
	call, ok := h.call(w, r, modelsOperation)
	if !ok {
		return
	}
	m, err := h.Gateway.Model(r.Context(), call, r.PathValue("model"))
	if err != nil {
		writeError(w, modelsOperation, realm.AsError(err), 0)
		return
	}
	writeJSON(w, objectOf(m))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
