/* The links of a mail message. */
#ifndef LINKS_H
#define LINKS_H

#include <stddef.h>

typedef void links_found(void *context, const char *url, size_t size);

/* Once, before threads start. */
void links_init(void);

/* Calls found for each http and https link in the text and HTML parts of a message, attached
 * messages included, in order; a link that is there twice is found twice. Parts are decoded
 * (quoted-printable, base64, character sets); what is malformed is read as far as it goes.
 *
 * Any number of threads may call it at once. */
void links_find(const char *message, size_t size, links_found *found, void *context);

#endif
