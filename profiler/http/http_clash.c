/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: notice a program that brings its own mg_* functions (an embedded civetweb or mongoose).
 * The loader binds names to the program first: our calls, and those that the library makes to
 * itself, would go to functions of the same name and another layout. Then there is no server.
 */
#include "http_server.h"

#include <dlfcn.h>
#include <stddef.h>

/* What we call, and what the library's public functions call of each other. */
static const char *const names[] = {
    "mg_init_library",
    "mg_start",
    "mg_start2",
    "mg_stop",
    "mg_get_server_ports",
    "mg_get_request_info",
    "mg_get_user_data",
    "mg_get_user_context_data",
    "mg_get_context",
    "mg_read",
    "mg_write",
    "mg_printf",
    "mg_cry",
    "mg_get_header",
    "mg_get_option",
    "mg_get_response_code_text",
    "mg_get_builtin_mime_type",
    "mg_lock_connection",
    "mg_unlock_connection",
    "mg_lock_context",
    "mg_unlock_context",
    "mg_md5",
    "mg_send_http_error",
    "mg_send_http_ok",
    "mg_send_chunk",
    "mg_strcasecmp",
    "mg_strncasecmp",
    "mg_url_decode",
    "mg_url_encode",
    "mg_get_var",
    "mg_get_var2",
    "mg_close_connection",
    "mg_response_header_start",
    "mg_response_header_add",
    "mg_response_header_send",
};

bool cu__http_is_captured(void)
{
    void *library = dlopen("libcivetweb.so.1", RTLD_LAZY | RTLD_NOLOAD);
    bool is_captured = library == NULL; /* we were linked with something else */
    for (size_t i = 0; library && i < sizeof(names) / sizeof(names[0]); i++) {
        void *theirs = dlsym(RTLD_DEFAULT, names[i]);
        is_captured |= theirs != dlsym(library, names[i]);
    }
    if (library) {
        dlclose(library);
    }
    return is_captured;
}
