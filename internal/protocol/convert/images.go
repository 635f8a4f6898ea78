package convert

import (
	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// Chat has no images in its answers. Where they are given nevertheless, it is in the
// form that OpenRouter has made usual: a message's images, data URLs all of them.

// imageFormats are the kinds of files that Responses may tell of.
var imageFormats = [...]string{"png", "jpeg", "webp", "gif"}

// appendImage appends the image that a call has made, with a comma behind it; nothing
// if there is none.
func appendImage(dst []byte, get func(string) []byte) []byte {
	data := inside(get("result"))
	if len(data) == 0 {
		return dst
	}
	kind := imageFormats[0]
	for _, other := range imageFormats {
		if rawjson.Equal(get("output_format"), other) {
			kind = other
		}
	}
	if rawjson.Equal(get("output_format"), "svg") {
		kind = "svg+xml"
	}
	dst = append(dst, `{"type":"image_url","image_url":{"url":"data:image/`+kind+`;base64,`...)
	return append(append(dst, data...), `"}},`...)
}

// unmadeImage is the error of a call that has made no image; nil if it has.
func unmadeImage(get func(string) []byte) *openai.UpstreamError {
	if len(inside(get("result"))) != 0 {
		return nil
	}
	if e := openai.ParseError(get("error")); !e.Bare {
		return &e
	}
	return &openai.UpstreamError{Code: "image_generation_failed", Message: "The image was not made."}
}

// completeImage sends an image, once. Those that come while it is made are but steps
// to it.
func (s *chatStream) completeImage(dst []byte, it *streamItem, get func(string) []byte) []byte {
	if it.parts != 0 {
		return dst
	}
	image := appendImage(nil, get)
	if len(image) == 0 {
		s.unmade = unmadeImage(get)
		return dst
	}
	it.parts = whole
	return s.sendRaw(dst, "images", list(image))
}
