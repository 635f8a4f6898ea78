package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// serveProxy is the yardstick: the standard library's reverse proxy as it
// comes, flushing at once, over a transport with the settings that Realms gives
// its own (enough idle connections for every client, no compression, no HTTP/2
// where it is not negotiated).
func serveProxy(ctx context.Context, upstream string, ready io.Writer) error {
	to, err := url.Parse(upstream)
	if err != nil {
		return fmt.Errorf("read the upstream's address: %w", err)
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:          0, // no limit
		MaxIdleConnsPerHost:   4096,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 10 * time.Minute,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
	}
	defer transport.CloseIdleConnections()
	return serve(ctx, &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport:     transport,
	}, ready)
}
